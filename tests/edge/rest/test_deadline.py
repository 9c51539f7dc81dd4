from __future__ import annotations

import asyncio

import pytest

from edge_gateway.rest.deadline import within
from meshkit.core.errors import DeadlineExceeded


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_work_that_never_waits_is_done_without_a_timer() -> None:
    async def work() -> int:
        return 5

    assert await within(work(), soon(-1.0)) == 5


async def test_work_that_waits_is_told_what_it_waited_for() -> None:
    loop = asyncio.get_running_loop()

    async def work() -> list[int]:
        futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3)]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        async with asyncio.timeout(5.0):
            await asyncio.sleep(0)
            return [await future for future in futures]

    assert await within(work(), soon(5.0)) == [0, 1, 2]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_fault_is_raised_wherever_it_happens(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError):
        await within(work(), soon(5.0))


async def test_fault_of_what_is_waited_for_reaches_the_work() -> None:
    async def work() -> str:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("lost"))
        try:
            await future
        except KeyError:
            return "caught"
        return "missed"

    assert await within(work(), soon(5.0)) == "caught"


async def test_late_work_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(DeadlineExceeded):
        await within(work(), soon(0.001))
    assert cancelled.is_set()


async def test_cancellation_from_outside_is_one() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(within(work(), soon(60.0)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_timeout_of_the_works_own_is_not_the_deadline() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within(work(), soon(60.0))
