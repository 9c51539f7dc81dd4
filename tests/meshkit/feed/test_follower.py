from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1.watch_pb2 import Progress, WatchStockResponse
from meshkit.core.errors import MissingScope
from meshkit.feed.follower import Follower, MemoryPosition, Position, StreamBroken
from meshkit.feed.token import ResumeToken
from tests.meshkit.feed.tally import ALL, Process, process


class Mirror:
    """Keeps what the stream says, as a cache would."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, int]] = {}
        self.calls: list[str] = []

    async def begin_snapshot(self) -> None:
        self.calls.append("begin")
        self.rows.clear()

    async def apply(self, response: WatchStockResponse) -> None:
        self.calls.append("apply")
        for row in response.snapshot.sellable:
            self.rows[row.sku] = (row.revision, row.sellable)
        for delta in response.deltas.deltas:
            if delta.revision > self.rows.get(delta.sellable.sku, (0, 0))[0]:
                self.rows[delta.sellable.sku] = (delta.revision, delta.sellable.after)

    async def complete_snapshot(self, revision: int) -> None:
        self.calls.append(f"complete {revision}")


class Connections:
    """Opens streams at a process and counts them."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.tokens: list[str] = []

    async def open(self, token: str) -> AsyncGenerator[WatchStockResponse, None]:
        self.tokens.append(token)
        async with aclosing(self.process.feed.subscribe(ALL, resume_token=token)) as stream:
            async for message in stream:
                yield WatchStockResponse.FromString(message)


async def until(follower: Follower[WatchStockResponse], revision: int) -> None:
    async with asyncio.timeout(5):
        while follower.covers_to < revision:  # noqa: ASYNC110 — seen as its user sees it
            await asyncio.sleep(0.005)


async def test_a_follower_mirrors_the_state_over_restarts_of_the_server(tally_url: str) -> None:
    mirror, positions = Mirror(), MemoryPosition()
    async with process(tally_url) as one, process(tally_url) as other:
        connections = Connections(one)
        follower = Follower(connections.open, consumer=mirror, positions=positions, name="test")
        running = asyncio.create_task(follower.run())
        await one.change(("a", 1), ("b", 1))
        await until(follower, 1)
        connections.process = other
        await one.feed.drain()  # says goodbye
        await other.change(("a", 1))
        await until(follower, 2)
        running.cancel()
        again = Follower(connections.open, consumer=mirror, positions=positions, name="test")
        running = asyncio.create_task(again.run())
        await other.change(("b", 5))
        await until(again, 3)
        running.cancel()
    assert mirror.rows == {"a": (2, 2), "b": (3, 6)}
    assert mirror.calls.count("begin") == 1
    assert [ResumeToken.decode(token).revision for token in connections.tokens[1:]] == [1, 2]


class Killed(Exception):
    """The process ends."""


class KilledBeforeSaving(MemoryPosition):
    """Is killed once, between applying and saving."""

    def __init__(self, covers_to: int) -> None:
        super().__init__()
        self.covers_to = covers_to

    async def save(self, position: Position) -> None:
        if position.covers_to == self.covers_to:
            self.covers_to = 0
            raise Killed
        await super().save(position)


async def test_what_was_applied_and_not_saved_is_applied_again(tally_url: str) -> None:
    mirror, positions = Mirror(), KilledBeforeSaving(2)
    async with process(tally_url) as one:
        await one.change(("a", 1))
        follower = Follower(Connections(one).open, consumer=mirror, positions=positions, name="test")
        running = asyncio.create_task(follower.run())
        await until(follower, 1)
        await one.change(("a", 1))
        with pytest.raises(Killed):
            await running
        again = Follower(Connections(one).open, consumer=mirror, positions=positions, name="test")
        running = asyncio.create_task(again.run())
        await until(again, 2)
        running.cancel()
    assert mirror.calls == ["begin", "apply", "complete 1", "apply", "apply"]
    assert mirror.rows == {"a": (2, 2)}


async def test_a_follower_of_a_log_that_is_gone_starts_over_with_a_snapshot(tally_url: str) -> None:
    mirror, positions = Mirror(), MemoryPosition()
    stale = ResumeToken("0190a000-0000-7000-8000-000000000000", 99).encode()
    await positions.save(Position(stale, 99, in_snapshot=False))
    async with process(tally_url) as one:
        await one.change(("a", 1))
        connections = Connections(one)
        follower = Follower(connections.open, consumer=mirror, positions=positions, name="test")
        running = asyncio.create_task(follower.run())
        async with asyncio.timeout(5):
            while "complete 1" not in mirror.calls:  # noqa: ASYNC110 — the mirror only keeps what it was told
                await asyncio.sleep(0.005)
        running.cancel()
    assert connections.tokens == [stale, ""]
    assert mirror.calls == ["begin", "apply", "complete 1"]


async def replay(*ranges: tuple[int, int]) -> AsyncIterator[WatchStockResponse]:
    for covers_from, covers_to in ranges:
        position = WatchPosition(covers_from=covers_from, covers_to=covers_to, resume_token=str(covers_to))
        yield WatchStockResponse(position=position, progress=Progress())
    await asyncio.Event().wait()


@pytest.mark.parametrize("second", [(6, 7), (4, 7), (3, 5), (5, 4)])
async def test_a_range_that_does_not_follow_breaks_the_stream(second: tuple[int, int]) -> None:
    positions = MemoryPosition()
    follower = Follower(lambda _: replay((3, 5), second), consumer=Mirror(), positions=positions, name="test")
    with pytest.raises(StreamBroken):
        await follower.run()
    assert await positions.load() == Position("5", 5, in_snapshot=False)


async def test_a_stream_that_goes_on_elsewhere_than_the_position_breaks() -> None:
    positions = MemoryPosition()
    await positions.save(Position("4", 4, in_snapshot=False))
    follower = Follower(lambda _: replay((5, 6)), consumer=Mirror(), positions=positions, name="test")
    with pytest.raises(StreamBroken):
        await follower.run()


async def test_a_refusal_that_does_not_pass_ends_the_follower() -> None:
    async def refuse(token: str) -> AsyncIterator[WatchStockResponse]:
        if not token:
            raise MissingScope("the token lacks the scope inventory.read")
        yield WatchStockResponse()

    follower = Follower(refuse, consumer=Mirror(), positions=MemoryPosition(), name="test")
    with pytest.raises(MissingScope):
        await follower.run()
