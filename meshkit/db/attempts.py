"""Work on the database that is done again when a fault passes: a restarted server, a lost race, a broken connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from meshkit.core.errors import Unavailable
from meshkit.db.faults import is_passing

T = TypeVar("T")
ATTEMPTS_MAX = 4
FIRST_WAIT_SECONDS = 0.02
"""Before the second attempt; four times as long before each further one."""


async def attempt(
    work: Callable[[], Awaitable[T]], *, attempts_max: int = ATTEMPTS_MAX, wait_seconds: float = FIRST_WAIT_SECONDS
) -> T:
    """What `work` returns.

    Raises:
        Unavailable: the fault did not pass in `attempts_max` attempts.
    """
    for number in range(1, attempts_max + 1):
        try:
            return await work()
        except Exception as fault:
            if not is_passing(fault):
                raise
            if number == attempts_max:
                raise Unavailable("the database is not available") from fault
        await asyncio.sleep(wait_seconds)
        wait_seconds *= 4
    raise AssertionError("unreachable: the last attempt returns or raises")
