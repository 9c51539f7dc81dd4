"""For what must happen within a time: a machine that stands still, as shared ones do, proves nothing about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

STILL_SECONDS: Final = 0.2
BEAT_SECONDS: Final = 0.01
TRIES_MAX: Final = 5


async def unless_the_machine_stands_still(check: Callable[[], Awaitable[None]]) -> None:
    """Passes if `check` does. It is repeated only where it failed and this process was kept from running meanwhile."""
    for _ in range(TRIES_MAX - 1):
        async with _longest_pause() as pause_seconds:
            try:
                await check()
            except (Exception, pytest.fail.Exception):  # whatever is wrong: a late refusal is another one
                await asyncio.sleep(2 * BEAT_SECONDS)  # so that a pause that has just ended is seen
                if pause_seconds() < STILL_SECONDS:
                    raise
            else:
                return
    await check()


@asynccontextmanager
async def _longest_pause() -> AsyncIterator[Callable[[], float]]:
    """How long this loop has not run, at most, until asked."""
    loop, longest = asyncio.get_running_loop(), 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            slept_since = loop.time()
            await asyncio.sleep(BEAT_SECONDS)
            longest = max(longest, loop.time() - slept_since - BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)  # so that it has begun
    try:
        yield lambda: longest
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
