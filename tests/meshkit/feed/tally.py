"""A service as small as can be: commands that change tallies, and a stream of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.common.v1.watch_pb2 import GoodbyeReason
from beautymesh.inventory.v1 import stock_pb2, watch_pb2
from meshkit.core.clock import SystemClock
from meshkit.core.decision import Decision, Facts, Origin
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from meshkit.db.engine import make_engine
from meshkit.db.read import read
from meshkit.feed.feed import Feed, FeedBounds
from meshkit.feed.hints import Hints, NoHints
from meshkit.feed.subscriber import SnapshotPage
from meshkit.log.ddl import LOG_V1
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Command, EventRow, Head, Record, Writer
from meshkit.log.writer import LogWriter
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing

TALLY, NOTE = "tally", "note"
PAGE_ROWS = 7
SMALL = FeedBounds(
    poll_seconds=0.05,
    window_events_max=60,
    chunk_events_max=10,
    page_events_max=25,
    pace_seconds_min=0.001,
    pace_seconds_max=0.002,
    progress_seconds=0.05,
    heartbeat_seconds=60.0,
)
"""So small that a test of a second drives streams through all their states, but silent where nothing happens."""


class Change(NamedTuple):
    """Adds to tallies. Without lines it leaves a note, which is in the log and not in the stream."""

    lines: tuple[tuple[str, int], ...] = ()


class Changed(NamedTuple):
    """One tally, or, without a key, the note."""

    key: str
    before: int
    after: int


@dataclass
class Tallies:
    """The working set."""

    values: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)


class TallyModel:
    """What the service brings to the kernel."""

    async def load(self, connection: Writer, bodies: Sequence[Change], *, horizon: datetime) -> Tallies:
        keys = sorted({key for body in bodies for key, _ in body.lines})
        rows = await connection.execute(
            "SELECT key, value FROM tally WHERE key = ANY(%b::text[])", (keys,), binary=True
        )
        return Tallies(dict(await rows.fetchall()))

    def lapsed(self, state: Tallies, now: datetime) -> Iterable[Command[Change]]:
        return ()

    def overdue(self, state: Tallies, now: datetime) -> bool:
        return False

    def decide(self, state: Tallies, body: Change, facts: Facts) -> Decision[Changed, int]:
        events = []
        for key, delta in body.lines:
            before = state.values.get(key, 0)
            events.append(Changed(key, before, before + delta))
        return Decision(events or [Changed("", 0, 0)], facts.revision)

    def apply(self, state: Tallies, decision: Decision[Changed, int], facts: Facts) -> None:
        for event in decision.events:
            if event.key:
                state.values[event.key] = event.after
                state.changed[event.key] = facts.revision

    def record(self, event: Changed) -> Record:
        if not event.key:
            return Record(NOTE, NOTE, b"")
        return Record(TALLY, event.key, event.key.encode(), (event.after - event.before,), (event.after,))

    def encode_reply(self, reply: int) -> bytes:
        return str(reply).encode()

    async def save(self, connection: Writer, state: Tallies) -> None:
        await connection.execute(
            """
            INSERT INTO tally SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[])
            ON CONFLICT (key) DO UPDATE SET (value, revision) = (excluded.value, excluded.revision)
            """,
            (list(state.changed), [state.values[key] for key in state.changed], list(state.changed.values())),
        )


@dataclass(frozen=True)
class Keys:
    """The tallies that a subscriber wants; all if there are none."""

    keys: frozenset[str] = frozenset()

    @property
    def hash(self) -> bytes:
        return sha256(" ".join(sorted(self.keys)).encode()).digest()[:8] if self.keys else b""

    def wants(self, event: EventRow) -> bool:
        return event.key in self.keys


ALL = Keys()


class TallyStream:
    """What the service brings to the feed. A tally travels as a sellable quantity: `sku` is its key."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.encoded: list[int] = []
        """How many events each call of `deltas` encoded."""

    def is_streamed(self, event: EventRow) -> bool:
        return event.kind == TALLY

    def deltas(self, events: Sequence[EventRow], *, conflated: bool) -> bytes:
        self.encoded.append(len(events))
        response = watch_pb2.WatchStockResponse()
        response.deltas.conflated = conflated
        for event in events:
            after, difference = event.balances[0], event.deltas[0]
            sellable = stock_pb2.SellableDelta(sku=event.key, before=after - difference, after=after)
            response.deltas.deltas.add(revision=event.revision, sellable=sellable)
        return response.SerializeToString()

    def snapshot_complete(self, revision: int) -> bytes:
        complete = watch_pb2.SnapshotComplete(revision=revision)
        return watch_pb2.WatchStockResponse(snapshot_complete=complete).SerializeToString()

    def progress(self) -> bytes:
        return watch_pb2.WatchStockResponse(progress=watch_pb2.Progress()).SerializeToString()

    def goodbye(self, reason: GoodbyeReason.ValueType) -> bytes:
        return watch_pb2.WatchStockResponse(goodbye=watch_pb2.Goodbye(reason=reason)).SerializeToString()

    async def read_state(self, selection: Keys, cursor: bytes) -> SnapshotPage:
        sql = text(f"""
            SELECT log_id::text, log_head.revision, record_time, hash, page.*
            FROM log_head LEFT JOIN LATERAL (
                SELECT * FROM tally
                WHERE key > :after AND (cardinality(CAST(:keys AS text[])) = 0 OR key = ANY(CAST(:keys AS text[])))
                ORDER BY key LIMIT {PAGE_ROWS}
            ) AS page ON true ORDER BY key""")
        rows = await read(self._engine, sql, {"after": cursor.decode(), "keys": sorted(selection.keys)})
        found = [row[4:] for row in rows if row[4] is not None]
        sellable = [watch_pb2.SellableLevel(sku=key, sellable=value, revision=changed) for key, value, changed in found]
        snapshot = watch_pb2.StockSnapshot(sellable=sellable)
        return SnapshotPage(
            body=watch_pb2.WatchStockResponse(snapshot=snapshot).SerializeToString(),
            cursor=found[-1][0].encode() if found else cursor or b" ",
            last=len(found) < PAGE_ROWS,
            head=Head(*rows[0][:4]),
        )


@dataclass
class Process:
    """One process of the service: a writer and a feed on a database."""

    engine: AsyncEngine
    stream: TallyStream
    feed: Feed[Keys]
    writer: LogWriter[Change, Tallies, Changed, int]
    metrics: Metrics

    async def change(self, *lines: tuple[str, int]) -> int:
        """Executes one command; returns its revision."""
        origin = Origin(principal="test", client_id="test")
        return (await self.writer.submit(Command(Change(lines), "Change", new_id(), origin))).revision


async def ready(feed: Feed[Keys]) -> None:
    """Waits until the feed has seen the log, however long the machine stands still."""
    async with asyncio.timeout(60):
        while True:
            try:
                await feed.check()
            except MeshError:
                continue  # it has waited a second
            return


@contextlib.asynccontextmanager
async def process(url: str, *, bounds: FeedBounds = SMALL, hints: Hints | None = None) -> AsyncIterator[Process]:
    """Starts a process; it follows the log when this returns."""
    engine, metrics = make_engine(url), Metrics()
    stream = TallyStream(engine)
    feed = Feed(stream, engine=engine, hints=hints or NoHints(), bounds=bounds, metrics=metrics, tracing=Tracing())
    writer = LogWriter(
        TallyModel(),
        url=url,
        clock=SystemClock(),
        limits=Limits(),
        metrics=LogMetrics(metrics),
        tracing=Tracing(),
        on_commit=feed.publish,
    )
    running = [asyncio.create_task(feed.run()), asyncio.create_task(writer.run())]
    try:
        await ready(feed)
        yield Process(engine, stream, feed, writer, metrics)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await engine.dispose()


def create_tables(url: str) -> None:
    """The log and the one projection."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(LOG_V1)
        connection.execute("CREATE TABLE tally (key text PRIMARY KEY, value bigint NOT NULL, revision bigint NOT NULL)")
