"""One statement that changes something, committed by itself: the cheapest commit there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.attempts import attempt


async def write(
    engine: AsyncEngine, sql: TextClause, parameters: Mapping[str, object]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The rows that one statement returns; executed again after a passing fault.

    When the connection breaks nobody knows whether the statement took effect, so it must be one whose repeat either
    does nothing or is told from a first time by what it returns.

    Raises:
        Unavailable: the fault did not pass in a few attempts.
    """

    async def once() -> Sequence[Row[*tuple[Any, ...]]]:
        async with engine.connect() as connection:
            return (await connection.execute(sql, parameters)).all()

    return await attempt(once)
