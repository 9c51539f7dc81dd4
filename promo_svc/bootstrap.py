"""How the promo service is put together: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.decision import Decision, Facts, Origin
from meshkit.core.ids import new_id
from meshkit.db.engine import make_engine
from meshkit.db.schema import require_current
from meshkit.log.identity import wait_for_log
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Command, EventRow, Head, Record, Writer
from meshkit.log.retention import Retention
from meshkit.log.sweeper import Sweeper
from meshkit.log.visibility import LogVisibility
from meshkit.service import Runtime, ServiceParts
from promo_svc.clients.profile import ProfileService
from promo_svc.domain import decide as rules
from promo_svc.domain.campaigns import CreatePromotion
from promo_svc.domain.decide import Body, Event, Reply, WorkingSet
from promo_svc.domain.redemptions import Expire
from promo_svc.rpc.service import DESCRIPTOR, PromoServicer
from promo_svc.rules.engine import RuleEngine
from promo_svc.settings import PromoSettings
from promo_svc.store.log import PromoWriter
from promo_svc.store.migrations import MIGRATIONS
from promo_svc.store.queries import read_lapsed_holds
from promo_svc.store.room import count_running
from promo_svc.store.save import save
from promo_svc.store.working_set import load
from promo_svc.usecases.evaluate_cart import EvaluateCart
from promo_svc.wire import events, replies

ITSELF = Origin(principal="service:promo", client_id="service:promo")
"""On whose behalf time acts."""


@asynccontextmanager
async def build(runtime: Runtime[PromoSettings]) -> AsyncGenerator[ServiceParts]:
    """The parts of the process, once its database answers.

    Raises:
        SchemaTooOld: the database must be migrated first.
    """
    settings, clock = runtime.settings, runtime.clock
    engine = make_engine(settings.database_url, connections_max=settings.database_connections_max)
    profile = ProfileService(
        targets=settings.profile_targets,
        tokens=runtime.service_tokens,
        metrics=runtime.metrics,
        seconds_max=settings.profile_seconds_max,
    )
    try:
        identity = await wait_for_log(engine, MIGRATIONS)
        rule_engine = RuleEngine()
        writer = PromoWriter(
            PromoModel(),
            url=settings.database_url,
            clock=clock,
            limits=settings.limits,
            metrics=LogMetrics(runtime.metrics),
            tracing=runtime.tracing,
            on_commit=nobody_follows,
        )
        servicer = PromoServicer(
            writer=writer,
            fingerprint_key=identity.fingerprint_key,
            new_id=new_id,
            require_valid=rule_engine.require_valid,
            engine=engine,
            clock=clock,
            visibility=LogVisibility(engine),
            evaluate_cart=EvaluateCart(engine=engine, clock=clock, rules=rule_engine, profile_facts=profile.facts),
            default_currency=settings.default_currency,
        )
        sweeper = Sweeper(find=partial(lapsed_holds, engine, clock), writer=writer)
        retention = Retention(engine=engine, clock=clock, keep=timedelta(days=settings.log_keep_days))
        yield ServiceParts(
            servicers=[(DESCRIPTOR, servicer)],
            checks={"database": partial(require_current, engine, MIGRATIONS)},
            tasks=[writer.run, sweeper.run, retention.run],
        )
    finally:
        await profile.close()
        await engine.dispose()


def nobody_follows(_events: Sequence[EventRow], _head: Head) -> None:
    """Promo streams nothing yet."""


class PromoModel:
    """What promo brings to the log kernel; see `meshkit.log.model.Model`."""

    async def load(self, connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
        """The rows that the bodies name, the holds that lapse on them, and how much room there is for promotions."""
        state = await load(connection, bodies, horizon=horizon)
        if any(isinstance(body, CreatePromotion) for body in bodies):
            state.running = await count_running(connection, horizon)
        return state

    def lapsed(self, state: WorkingSet, now: datetime) -> Iterable[Command[Body]]:
        """An expiry for each hold that has lapsed."""
        return [expiry(held.redemption_id, held.expire_time) for held in rules.lapsed(state, now)]

    def overdue(self, state: WorkingSet, now: datetime) -> bool:
        """Whether there are more of them than were loaded."""
        return rules.overdue(state, now)

    def decide(self, state: WorkingSet, body: Body, facts: Facts) -> Decision[Event, Reply]:
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
        await save(connection, state)


async def lapsed_holds(engine: AsyncEngine, clock: Clock, holds_max: int) -> list[Command[Body]]:
    """The expiries that are due, oldest first."""
    lapsed = await read_lapsed_holds(engine, now=clock.now(), rows_max=holds_max)
    return [expiry(redemption_id, expire_time, lines=lines) for redemption_id, expire_time, lines in lapsed]


def expiry(redemption_id: str, expire_time: datetime, *, lines: int = 1) -> Command[Body]:
    """The command that time gives when a hold lapses. The hold's own state makes it idempotent."""
    return Command(
        body=Expire(redemption_id),
        method="Expire",
        request_id=f"expire:{redemption_id}",
        origin=ITSELF,
        occur_time=expire_time,
        remembered=False,
        weight=lines,
    )
