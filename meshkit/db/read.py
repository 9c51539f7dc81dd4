"""One query, one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.faults import is_passing

ATTEMPTS_MAX = 2
"""A restarted server fails a statement on its old connection once; the second attempt has a new one."""


async def read(
    engine: AsyncEngine, sql: TextClause, parameters: Mapping[str, object]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """All rows of one statement that changes nothing.

    Raises:
        Unavailable: the database does not answer.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with engine.connect() as connection:
                return (await connection.execute(sql, parameters)).all()
        except Exception as fault:
            if not is_passing(fault):
                raise
            if attempt == ATTEMPTS_MAX:
                raise Unavailable("the database is not available") from fault
    raise AssertionError("unreachable: the last attempt returns or raises")
