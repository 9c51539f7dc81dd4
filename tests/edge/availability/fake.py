"""Inventory at the seam of its stub, for interleavings that no real one can be told to have.

Its stream says what the test says; its fetches wait until the test answers them. `test_service.py` beside it holds the
same cache against the real service.
"""
# ruff: noqa: ASYNC110 — what is waited for sets no event

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1 import availability_pb2, stock_pb2, watch_pb2
from edge_gateway.clients.availability import AvailabilityCache
from meshkit.core.errors import MeshError
from meshkit.feed.token import ResumeToken
from meshkit.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from beautymesh.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub

LOG = "0190a000-0000-7000-8000-00000000000a"
OTHER_LOG = "0190a000-0000-7000-8000-00000000000b"

Request = availability_pb2.BatchGetAvailabilityRequest
Response = availability_pb2.BatchGetAvailabilityResponse
Message = watch_pb2.WatchStockResponse


def row(sku: str, sellable: int, revision: int, channel: str = "default") -> availability_pb2.Availability:
    return availability_pb2.Availability(sku=sku, channel=channel, sellable=sellable, revision=revision)


def delta(sku: str, after: int, revision: int, channel: str = "default") -> watch_pb2.StockDelta:
    return watch_pb2.StockDelta(
        revision=revision, sellable=stock_pb2.SellableDelta(sku=sku, channel=channel, after=after)
    )


@dataclass
class Inventory:
    """What a test makes of it."""

    log_id: str = LOG
    covers_to: int = 0
    requests: list[Request] = field(default_factory=list)
    """Of fetches, in order."""
    tokens: list[str] = field(default_factory=list)
    """Of streams, in order."""
    _answers: list[asyncio.Future[Response]] = field(default_factory=list)
    _answering: list[asyncio.Task[None]] = field(default_factory=list)
    _told: asyncio.Queue[Message | MeshError | None] = field(default_factory=asyncio.Queue)

    # The stub.

    async def BatchGetAvailability(self, request: Request, *, timeout: float) -> Response:  # noqa: N802, ASYNC109 — a stub's
        self.requests.append(request)
        self._answers.append(asyncio.get_running_loop().create_future())
        return await self._answers[-1]

    async def WatchStock(self, request: watch_pb2.WatchStockRequest) -> AsyncGenerator[Message]:  # noqa: N802 — a stub's
        self.tokens.append(request.resume_token)
        while (message := await self._told.get()) is not None:
            if isinstance(message, MeshError):
                raise message
            yield message

    # The test.

    async def asked(self, number: int) -> None:
        """Until so many fetches are under way or done."""
        await until(lambda: len(self.requests) >= number)

    async def answer(self, number: int, *rows: availability_pb2.Availability, revision: int, unknown: str = "") -> None:
        """Answers the fetch of this number, from 0."""
        await self.asked(number + 1)
        self._answers[number].set_result(Response(availabilities=rows, revision=revision, unknown_skus=unknown.split()))

    def answer_when_asked(
        self, number: int, *rows: availability_pb2.Availability, revision: int, unknown: str = ""
    ) -> None:
        """The same, for a caller who is about to wait for it himself."""
        self._answering.append(asyncio.create_task(self.answer(number, *rows, revision=revision, unknown=unknown)))

    async def refuse(self, number: int, error: MeshError) -> None:
        """Refuses it."""
        await self.asked(number + 1)
        self._answers[number].set_exception(error)

    async def tell(self, cache: AvailabilityCache, covers_to: int, *deltas: watch_pb2.StockDelta) -> None:
        """The stream says this, and the cache has taken it."""
        self.say(covers_to, *deltas)
        await until(lambda: cache.position == covers_to)

    def say(self, covers_to: int, *deltas: watch_pb2.StockDelta) -> None:
        """The stream says this."""
        message = Message(position=self._position(covers_to))
        if deltas:
            message.deltas.deltas.extend(deltas)
        else:
            message.progress.SetInParent()
        self._told.put_nowait(message)

    def say_goodbye(self) -> None:
        """The stream ends in good order, at the position where it is."""
        self._told.put_nowait(Message(position=self._position(self.covers_to), goodbye=watch_pb2.Goodbye()))

    def begin_snapshot(self, covers_to: int) -> None:
        """The stream begins a snapshot: the log does not reach back to where the cache was."""
        self._told.put_nowait(Message(position=self._position(covers_to), snapshot=watch_pb2.StockSnapshot()))

    def end_stream(self, error: MeshError | None = None) -> None:
        """The stream breaks, or ends without a word."""
        self._told.put_nowait(error)

    def _position(self, covers_to: int) -> WatchPosition:
        covers_from, self.covers_to = self.covers_to, covers_to
        token = ResumeToken(self.log_id, covers_to).encode()
        return WatchPosition(covers_from=covers_from, covers_to=covers_to, resume_token=token)


@dataclass
class Hand:
    """A clock that stands."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def cache_of(inventory: Inventory, *, entries_max: int = 100, clock: Hand | None = None) -> AvailabilityCache:
    """A cache that does not run yet."""
    return AvailabilityCache(
        cast("InventoryServiceAsyncStub", inventory),
        entries_max=entries_max,
        metrics=Metrics(),
        clock_seconds=clock or Hand(),
    )


@asynccontextmanager
async def running(cache: AvailabilityCache) -> AsyncIterator[None]:
    """The cache's tasks."""
    task = asyncio.create_task(cache.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: object, seconds: float = 10.0) -> None:
    """Waits until a condition holds that another task or process brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]  # a callable
            await asyncio.sleep(0.002)
