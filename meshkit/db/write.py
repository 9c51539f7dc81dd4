"""One statement that changes something, committed by itself: the cheapest commit there is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.faults import is_passing
from meshkit.db.transact import ATTEMPTS_MAX, FIRST_WAIT_SECONDS


async def write(
    engine: AsyncEngine, sql: TextClause, parameters: Mapping[str, object]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The rows that one statement returns; executed again after a passing fault.

    When the connection breaks nobody knows whether the statement took effect, so it must be one whose repeat either
    does nothing or is told from a first time by what it returns.

    Raises:
        Unavailable: the fault did not pass in `ATTEMPTS_MAX` attempts.
    """
    wait_seconds = FIRST_WAIT_SECONDS
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with engine.connect() as connection:
                return (await connection.execute(sql, parameters)).all()
        except Exception as fault:
            if not is_passing(fault):
                raise
            if attempt == ATTEMPTS_MAX:
                raise Unavailable("the database is not available") from fault
        await asyncio.sleep(wait_seconds)
        wait_seconds *= 4
    raise AssertionError("unreachable: the last attempt returns or raises")
