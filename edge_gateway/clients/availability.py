"""What may be sold now, answered from memory: kept fresh by inventory's stream, filled by fetches that many share.

    read ── hit ──────────────────────────────────────────────────────► entry
         └─ miss ► wanted ► one BatchGetAvailability(min_revision) ► entries ─┘
                                  inventory's WatchStock ► deltas ────►┘

An answer is as late as the stream: milliseconds, and up to a second for units of a hold that has lapsed, because time
changes nothing here until the service's sweeper says so. A read that must not be late goes to the service.

Fetches and stream run in tasks of the cache's own, with the edge's own authority, because what they bring is shared by
all callers. Each caller's grant (scope, channel) is for whoever asks the cache to check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final, cast

import structlog

from beautymesh.common.v1.watch_pb2 import CATCH_UP_CONFLATE
from beautymesh.inventory.v1 import availability_pb2, watch_pb2
from edge_gateway.clients import metrics as names
from edge_gateway.clients.entries import Entries, Entry, Outcome, Unknown
from edge_gateway.clients.lanes import GONE, Lane, Wait
from edge_gateway.clients.unknowns import Unknowns
from meshkit.core.errors import Kind, MeshError, Unavailable
from meshkit.feed.follower import RETRY_SECONDS_MAX, Follower, MemoryPosition, StreamBroken
from meshkit.rpc.status import class_for
from meshkit.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from beautymesh.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub

DEFAULT_CHANNEL: Final = "default"

FETCHES_MAX: Final = 4
"""Calls at the same time. What misses meanwhile collects, so that a flood makes calls larger, not more."""
FETCH_SECONDS_MAX: Final = 2.0
"""How long one call may take, repeats of the channel included."""
WAITS_MAX: Final = 10_000
"""(SKU, channel) pairs that are being waited for. It takes that many callers at once, or ten of the largest batches."""
ANONYMOUS_FETCHES_MAX: Final = 1
"""The same as `FETCHES_MAX` for callers without a token, who have a lane of their own: each channel is a call, and they
may make up as many as they like. They wait behind each other's, and a caller with a token behind none of them."""
ANONYMOUS_WAITS_MAX: Final = 200
"""The same as `WAITS_MAX` for them. Of one channel it is one call, so it takes a rush of 200 SKUs within the time of a
call to be refused; of made-up channels it is what a stranger waits for at most: about a second."""
SILENT_SECONDS_MAX: Final = 20.0
"""After this without a message the stream counts as broken: it says at least every 15 s that it lives."""

_log = structlog.get_logger("edge.availability")


class AvailabilityCache:
    """The entries and the two ways in which they get here, and for a second what inventory does not know."""

    def __init__(
        self,
        inventory: InventoryServiceAsyncStub,
        *,
        entries_max: int,
        metrics: Metrics,
        clock_seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`inventory` calls with the edge's own token, scope `inventory.read`. `clock_seconds` only ever rises."""
        self._inventory = inventory
        self._entries = Entries(entries_max=entries_max)
        self._clock_seconds = clock_seconds
        self._heard_seconds: float | None = None
        self._interrupted = True
        self._unknowns = Unknowns(clock_seconds=clock_seconds)
        self._lane = Lane(waits_max=WAITS_MAX)
        self._anonymous_lane = Lane(waits_max=ANONYMOUS_WAITS_MAX)
        reads = metrics.counter(names.READS)
        self._hits, self._misses = reads.labels("hit"), reads.labels("miss")
        self._fetch_seconds = metrics.histogram(names.FETCH_DURATION)
        metrics.gauge(names.ENTRIES).set_function(lambda: len(self._entries))
        metrics.gauge(names.STREAM_AGE).set_function(lambda: self.age_seconds)
        metrics.gauge(names.STREAM_BROKEN).set_function(lambda: self.is_broken)

    # Reads.

    @property
    def position(self) -> int:
        """The revision up to which the stream was applied; 0 before its first message."""
        return self._entries.position

    @property
    def age_seconds(self) -> float:
        """Time since the stream's last message: what is answered now was true then. 0 before the first one."""
        return 0.0 if self._heard_seconds is None else self._clock_seconds() - self._heard_seconds

    @property
    def is_broken(self) -> bool:
        """Whether nothing keeps the entries fresh now. They are served all the same."""
        return self._interrupted or self.age_seconds > SILENT_SECONDS_MAX

    @property
    def log_tag(self) -> str:
        """Names the log that the service has now; empty where nothing is heard of it: it may come with another one."""
        return "" if self.is_broken else self._entries.log_tag

    def find(self, sku: str, channel: str) -> Entry | None:
        """What is in memory."""
        entry = self._entries.find(sku, channel)
        if entry is not None:
            self._hits.inc()
        return entry

    def count_kept(self, skus: Sequence[str], channel: str) -> int:
        """How many of them `get_many` would answer from memory if it were called now, unknown ones included."""
        return sum(1 for sku in skus if self._entries.find(sku, channel) or self._unknowns.find(sku, channel))

    async def get(self, sku: str, channel: str, *, anonymous: bool = False) -> Entry:
        """What is in memory, else what inventory says. `anonymous`: for a caller who has shown no token.

        Raises:
            UnknownSku, UnknownChannel: as inventory's own.
            TooManyRequests, Unavailable: it cannot be asked.
        """
        (found,) = await self.get_many((sku,), channel, anonymous=anonymous)
        if isinstance(found, Unknown):
            raise class_for(Kind.NOT_FOUND, "UNKNOWN_SKU")(f"unknown SKU {sku}", metadata={"sku": sku})
        return found

    async def get_many(self, skus: Sequence[str], channel: str, *, anonymous: bool = False) -> list[Entry | Unknown]:
        """The same for several, in their order; those that inventory does not know are no refusal.

        The names must have passed the contract's rules: a wrong one fails the call that all who wait share.
        """
        asked: list[Entry | Unknown | Wait] = []
        try:
            for sku in skus:  # one by one: if the lane is full in the midst, what was entered before is left again
                found_or_awaited = self._recall(sku, channel) or self._await(sku, channel, anonymous=anonymous)
                asked.append(found_or_awaited)
            found = [await each.outcome() if isinstance(each, Wait) else each for each in asked]
        finally:
            for each in asked:
                if isinstance(each, Wait):
                    each.leave()
        # What was in memory, or came first, may have been changed while the last one was waited for.
        return [self._entries.find(sku, channel) or each for sku, each in zip(skus, found, strict=True)]

    def cut(self, found: Sequence[Entry | Unknown]) -> int | None:
        """The latest revision at which all of them hold; None if none is known. To be asked at once: time moves on."""
        return self._entries.cut(found)

    def _recall(self, sku: str, channel: str) -> Entry | Unknown | None:
        """What is in memory, unknown ones included."""
        found = self._entries.find(sku, channel) or self._unknowns.find(sku, channel)
        if found is not None:
            self._hits.inc()
        if isinstance(found, MeshError):
            raise copy(found)  # each raise adds to the traceback of its own
        return found

    def _await(self, sku: str, channel: str, *, anonymous: bool) -> Wait:
        self._misses.inc()
        wait = self._lane.join(sku, channel)
        if wait is None and anonymous:  # never the other way round: the lane of the anonymous may be a long one
            wait = self._anonymous_lane.join(sku, channel) or self._anonymous_lane.enter(sku, channel)
        return wait or self._lane.enter(sku, channel)

    # Tasks.

    async def run(self) -> None:
        """Follows the stream and fetches what is wanted, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                for _ in range(FETCHES_MAX):
                    tasks.create_task(self._fetch_forever(self._lane))
                for _ in range(ANONYMOUS_FETCHES_MAX):
                    tasks.create_task(self._fetch_forever(self._anonymous_lane))
        finally:
            self._lane.close()
            self._anonymous_lane.close()

    async def check(self) -> None:
        """Readiness: returns once the stream has begun, and for ever after: without it reads go on, and say their age.

        Raises:
            Unavailable: nothing was ever heard of inventory.
        """
        if self._heard_seconds is None:
            raise Unavailable("the stream from inventory has not begun")

    async def _follow(self) -> None:
        while True:
            follower = Follower(self._stream, consumer=self, positions=MemoryPosition(), name="availability")
            try:
                await follower.run()
            except StreamBroken as broken:
                _log.error("availability.stream_broken", fault=str(broken))
                self._interrupted = True
                self._start_over()
            await asyncio.sleep(RETRY_SECONDS_MAX)

    async def _stream(self, token: str) -> AsyncGenerator[watch_pb2.WatchStockResponse]:
        """One stream. Without a token it leaves a gap to the last one: there was none, or it was of another log."""
        if not token:
            self._start_over()
        request = watch_pb2.WatchStockRequest(
            filter=watch_pb2.StockFilter(omit_levels=True),
            resume_token=token,
            skip_snapshot=True,
            catch_up=CATCH_UP_CONFLATE,
        )
        stream = cast("AsyncGenerator[watch_pb2.WatchStockResponse]", aiter(self._inventory.WatchStock(request)))
        is_over = False
        try:
            async with aclosing(stream) as responses:
                async for response in responses:
                    self._heard_seconds, self._interrupted = self._clock_seconds(), False
                    is_over = response.WhichOneof("body") == "goodbye"
                    yield response
                    self._entries.reached(response.position)  # it has been applied: the follower wants the next one
        finally:
            self._interrupted = not is_over  # a goodbye is followed by the next stream within a moment

    async def begin_snapshot(self) -> None:
        """The service's log does not reach back to where we were: what changed since then is not told one by one."""
        self._start_over()

    async def apply(self, response: watch_pb2.WatchStockResponse) -> None:
        """Takes deltas. Rows of a snapshot are not wanted: an entry comes with the next read of it."""
        self._entries.apply(response.deltas.deltas)
        self._unknowns.apply(response.deltas.deltas)

    async def complete_snapshot(self, revision: int) -> None:
        """Nothing to do."""

    def _start_over(self) -> None:
        self._entries.start_over()
        self._unknowns.clear()
        self._lane.outdate()  # what is being fetched may be of another log
        self._anonymous_lane.outdate()

    # Fetches.

    async def _fetch_forever(self, lane: Lane) -> None:
        while True:
            channel, waits = await lane.take()
            await self._fetch(lane, channel, waits)

    async def _fetch(self, lane: Lane, channel: str, waits: Mapping[str, Wait]) -> None:
        fetch = self._entries.begin_fetch(channel, waits)
        request = availability_pb2.BatchGetAvailabilityRequest(
            skus=waits, channel=channel, min_revision=fetch.min_revision
        )
        outcomes: Mapping[str, Outcome] = dict.fromkeys(waits, GONE)
        code, begun, asked_seconds = "CANCELLED", perf_counter(), self._clock_seconds()
        try:
            response = await self._inventory.BatchGetAvailability(request, timeout=FETCH_SECONDS_MAX)
            code, outcomes = "OK", self._entries.take(fetch, response)
        except MeshError as fault:
            code, outcomes = fault.meaning.grpc_status, dict.fromkeys(waits, fault)
        finally:
            self._fetch_seconds.labels(code).observe(perf_counter() - begun)
            self._entries.end_fetch(fetch)
            if not fetch.outdated:
                self._keep_unknowns(channel, outcomes, asked_seconds)
            for sku, wait in waits.items():
                lane.settle(wait, outcomes[sku])

    def _keep_unknowns(self, channel: str, outcomes: Mapping[str, Outcome], asked_seconds: float) -> None:
        for outcome in outcomes.values():
            if isinstance(outcome, Unknown):
                self._unknowns.keep_sku(outcome, asked_seconds=asked_seconds)
            elif isinstance(outcome, MeshError) and outcome.reason == "UNKNOWN_CHANNEL":
                self._unknowns.keep_channel(channel, copy(outcome), asked_seconds=asked_seconds)  # no traceback
