"""One transaction as a closure that can be done again whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.faults import is_passing

T = TypeVar("T")
ATTEMPTS_MAX = 4
FIRST_WAIT_SECONDS = 0.02


async def transact(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Runs `work` in one READ COMMITTED transaction and commits; again, whole, after a passing fault.

    `work` may run several times, so it must not do anything but SQL. It must be idempotent as well: when the connection
    breaks during COMMIT nobody knows whether it took effect.

    Raises:
        Unavailable: the fault did not pass in `ATTEMPTS_MAX` attempts.
    """
    wait_seconds = FIRST_WAIT_SECONDS
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="READ COMMITTED")
                async with connection.begin():
                    return await work(connection)
        except Exception as fault:
            if not is_passing(fault):
                raise
            if attempt == ATTEMPTS_MAX:
                raise Unavailable("the database is not available") from fault
        await asyncio.sleep(wait_seconds)
        wait_seconds *= 4
    raise AssertionError("unreachable: the last attempt returns or raises")
