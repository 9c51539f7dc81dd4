"""One query, one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.attempts import attempt

ATTEMPTS_MAX = 2
"""A restarted server fails a statement on its old connection once; the second attempt has a new one."""


async def read(
    engine: AsyncEngine, sql: TextClause, parameters: Mapping[str, object]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """All rows of one statement that changes nothing.

    Raises:
        Unavailable: the database does not answer.
    """

    async def once() -> Sequence[Row[*tuple[Any, ...]]]:
        async with engine.connect() as connection:
            return (await connection.execute(sql, parameters)).all()

    return await attempt(once, attempts_max=ATTEMPTS_MAX, wait_seconds=0)
