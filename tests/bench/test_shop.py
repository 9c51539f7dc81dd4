"""The rate of checkouts is judged by what arrives whether or not the mesh has time, and not by who waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from bench import shop
from bench.calls import Job
from bench.edge_cases import kept_up
from tests.bench.loopback import serving

RATE: Final = 50
SECONDS: Final = 0.2
ARRIVALS: Final = 10


async def test_all_that_arrives_is_done_in_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "LATE_SECONDS", 10.0)  # of a machine that is busy with other tests
    async with edge(answer_seconds=0.0) as job:
        found = await shop.arrivals(job)
    assert (found["arrived"], found["in_time"], found["confirm"]["done"]) == (ARRIVALS, ARRIVALS, ARRIVALS)
    result = kept_up(RATE, found, {})
    assert (result.measured, result.aim, result.reached) == (50.0, "≥ 50", True)


async def test_what_is_done_after_the_window_misses_the_aim() -> None:
    async with edge(answer_seconds=(SECONDS + shop.LATE_SECONDS) / 2) as job:  # and as much again to be confirmed
        found = await shop.arrivals(job)
    assert (found["arrived"], found["in_time"], found["confirm"]["done"]) == (ARRIVALS, 0, ARRIVALS)
    result = kept_up(RATE, found, {})
    assert (result.measured, result.reached) == (0.0, False)
    assert "0 of 10 arrivals created and confirmed when the window was over, 10 late" in result.detail


async def test_what_is_refused_misses_the_aim() -> None:
    async with edge(answer_seconds=0.0, status=503) as job:
        found = await shop.arrivals(job)
    assert (found["in_time"], found["faults"]) == (0, {"create 503 UNAVAILABLE": ARRIVALS})
    assert kept_up(RATE, found, {}).reached is False


@asynccontextmanager
async def edge(*, answer_seconds: float, status: int = 200) -> AsyncIterator[Job]:
    """An edge that knows checkouts only, each step of which takes so long."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            await asyncio.sleep(answer_seconds)
            body = json.dumps({"checkout": {"checkoutId": "c-1"}, "reason": "UNAVAILABLE"}).encode()
            writer.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))

    job = {"token": "t", "skus": 10, "confirms": True, "seed": 1, "per_second": RATE, "seconds": SECONDS}
    async with serving(serve) as url:
        yield {**job, "url": url}
