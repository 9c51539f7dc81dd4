"""How the inventory service is put together: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain import decide as rules
from inventory_svc.domain.decide import Body, Event, Reply, StockDecision, WorkingSet
from inventory_svc.domain.reservations import Expire
from inventory_svc.rpc.service import DESCRIPTOR, InventoryServicer
from inventory_svc.settings import InventorySettings
from inventory_svc.store import working_set
from inventory_svc.store.log import InventoryWriter
from inventory_svc.store.migrations import MIGRATIONS
from inventory_svc.store.queries import read_lapsed_holds
from inventory_svc.store.snapshot import read_state_page
from inventory_svc.wire import events, replies
from inventory_svc.wire.stream import StockStream
from meshkit.core.clock import Clock
from meshkit.core.decision import Decision, Facts, Origin
from meshkit.core.ids import new_id
from meshkit.db.engine import make_engine
from meshkit.db.schema import require_current
from meshkit.feed.feed import Feed
from meshkit.feed.hints import NoHints, ValkeyHints
from meshkit.log.identity import wait_for_log
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Command, Record, Writer
from meshkit.log.retention import Retention
from meshkit.log.sweeper import Sweeper
from meshkit.service import Runtime, ServiceParts

SERVICE = "inventory"
ITSELF = Origin(principal="service:inventory", client_id="service:inventory")
"""On whose behalf time acts."""


@asynccontextmanager
async def build(runtime: Runtime[InventorySettings]) -> AsyncGenerator[ServiceParts]:
    """The parts of the process, once its database answers.

    Raises:
        SchemaTooOld: the database must be migrated first.
    """
    settings, clock = runtime.settings, runtime.clock
    engine = make_engine(settings.database_url, connections_max=settings.database_connections_max)
    try:
        identity = await wait_for_log(engine, MIGRATIONS)
        hints = (
            ValkeyHints(settings.redis_url, service=SERVICE, metrics=runtime.metrics)
            if settings.redis_url
            else NoHints()
        )
        feed = Feed(
            StockStream(partial(read_state_page, engine)),
            engine=engine,
            hints=hints,
            bounds=settings.feed_bounds,
            metrics=runtime.metrics,
            tracing=runtime.tracing,
        )
        writer = InventoryWriter(
            StockModel(),
            url=settings.database_url,
            clock=clock,
            limits=settings.limits,
            metrics=LogMetrics(runtime.metrics),
            tracing=runtime.tracing,
            on_commit=feed.publish,
        )
        servicer = InventoryServicer(
            writer=writer,
            fingerprint_key=identity.fingerprint_key,
            new_id=new_id,
            engine=engine,
            clock=clock,
            feed=feed,
        )
        sweeper = Sweeper(find=partial(lapsed_holds, engine, clock), writer=writer)
        retention = Retention(engine=engine, clock=clock, keep=timedelta(days=settings.log_keep_days))
        yield ServiceParts(
            servicers=[(DESCRIPTOR, servicer)],
            checks={"database": partial(require_current, engine, MIGRATIONS), "feed": feed.check},
            tasks=[writer.run, feed.run, sweeper.run, retention.run],
            on_drain=[feed.drain],
        )
    finally:
        await engine.dispose()


class StockModel:
    """What inventory brings to the log kernel; see `meshkit.log.model.Model`."""

    async def load(self, connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
        """The rows that the bodies name and the holds that lapse on them."""
        return await working_set.load(connection, bodies, horizon=horizon)

    def lapsed(self, state: WorkingSet, now: datetime) -> Iterable[Command[Body]]:
        """An expiry for each hold that has lapsed."""
        return [expiry(held.reservation_id, held.expire_time) for held in rules.lapsed(state, now)]

    def overdue(self, state: WorkingSet, now: datetime) -> bool:
        """Whether there are more of them than were loaded."""
        return rules.overdue(state, now)

    def decide(self, state: WorkingSet, body: Body, facts: Facts) -> StockDecision:
        """The rules of the domain."""
        return rules.decide(state, body, facts)

    def apply(self, state: WorkingSet, decision: Decision[Event, Reply], facts: Facts) -> None:
        """The working set after the decision."""
        rules.apply(state, decision, facts)

    def record(self, event: Event) -> Record:
        """The event as a log row."""
        return events.record(event)

    def encode_reply(self, reply: Reply) -> bytes:
        """The reply on the wire."""
        return replies.encode(reply)

    async def save(self, connection: Writer, state: WorkingSet) -> None:
        """What changed."""
        await working_set.save(connection, state)


async def lapsed_holds(engine: AsyncEngine, clock: Clock, holds_max: int) -> list[Command[Body]]:
    """The expiries that are due, oldest first."""
    lapsed = await read_lapsed_holds(engine, now=clock.now(), rows_max=holds_max)
    return [expiry(reservation_id, expire_time, lines=lines) for reservation_id, expire_time, lines in lapsed]


def expiry(reservation_id: str, expire_time: datetime, *, lines: int = 1) -> Command[Body]:
    """The command that time gives when a hold lapses. The hold's own state makes it idempotent."""
    return Command(
        body=Expire(reservation_id),
        method="Expire",
        request_id=f"expire:{reservation_id}",
        origin=ITSELF,
        occur_time=expire_time,
        remembered=False,
        weight=lines,
    )
