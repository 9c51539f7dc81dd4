"""One transaction as a closure that can be done again whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.db.attempts import attempt

T = TypeVar("T")


async def transact(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Runs `work` in one READ COMMITTED transaction and commits; again, whole, after a passing fault.

    `work` may run several times, so it must not do anything but SQL. It must be idempotent as well: when the connection
    breaks during COMMIT nobody knows whether it took effect.

    Raises:
        Unavailable: the fault did not pass in a few attempts.
    """

    async def once() -> T:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                return await work(connection)

    return await attempt(once)
