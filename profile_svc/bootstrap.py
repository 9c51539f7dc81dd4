"""How the profile service is put together: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from meshkit.core.decision import Decision, Facts
from meshkit.core.ids import new_id
from meshkit.db.engine import make_engine
from meshkit.db.schema import require_current
from meshkit.log.identity import wait_for_log
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Command, EventRow, Head, Record, Writer
from meshkit.log.retention import Retention
from meshkit.log.visibility import LogVisibility
from meshkit.service import Runtime, ServiceParts
from profile_svc.domain import decide as rules
from profile_svc.domain.decide import Body, Event, Reply, WorkingSet
from profile_svc.rpc.service import DESCRIPTOR, ProfileServicer
from profile_svc.settings import ProfileSettings
from profile_svc.store import working_set
from profile_svc.store.log import ProfileWriter
from profile_svc.store.migrations import MIGRATIONS
from profile_svc.wire import events, replies


@asynccontextmanager
async def build(runtime: Runtime[ProfileSettings]) -> AsyncGenerator[ServiceParts]:
    """The parts of the process, once its database answers.

    Raises:
        SchemaTooOld: the database must be migrated first.
    """
    settings, clock = runtime.settings, runtime.clock
    engine = make_engine(settings.database_url, connections_max=settings.database_connections_max)
    try:
        identity = await wait_for_log(engine, MIGRATIONS)
        writer = ProfileWriter(
            ProfileModel(),
            url=settings.database_url,
            clock=clock,
            limits=settings.limits,
            metrics=LogMetrics(runtime.metrics),
            tracing=runtime.tracing,
            on_commit=nobody_follows,
        )
        servicer = ProfileServicer(
            writer=writer,
            fingerprint_key=identity.fingerprint_key,
            new_id=new_id,
            engine=engine,
            visibility=LogVisibility(engine),
        )
        retention = Retention(engine=engine, clock=clock, keep=timedelta(days=settings.log_keep_days))
        yield ServiceParts(
            servicers=[(DESCRIPTOR, servicer)],
            checks={"database": partial(require_current, engine, MIGRATIONS)},
            tasks=[writer.run, retention.run],
        )
    finally:
        await engine.dispose()


def nobody_follows(events: Sequence[EventRow], head: Head) -> None:
    """Nothing is streamed yet, so nobody waits for a commit."""


class ProfileModel:
    """What profile brings to the log kernel; see `meshkit.log.model.Model`."""

    async def load(self, connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
        """The rows that the bodies name."""
        del horizon  # time alone changes nothing here
        return await working_set.load(connection, bodies)

    def overdue(self, state: WorkingSet, now: datetime) -> bool:  # noqa: ARG002 — the model's
        """Nothing lapses here."""
        return False

    def lapsed(self, state: WorkingSet, now: datetime) -> Iterable[Command[Body]]:
        """Nothing: no profile and no purchase lapses."""
        del state, now
        return ()

    def decide(self, state: WorkingSet, body: Body, facts: Facts) -> Decision[Event, Reply]:
        """The rules of the domain."""
        return rules.decide(state, body, facts)

    def apply(self, state: WorkingSet, decision: Decision[Event, Reply], facts: Facts) -> None:
        """The working set after the decision."""
        del facts  # its revision and time stand in the events
        rules.apply(state, decision)

    def record(self, event: Event) -> Record:
        """The event as a log row."""
        return events.record(event)

    def encode_reply(self, reply: Reply) -> bytes:
        """The reply on the wire."""
        return replies.encode(reply)

    async def save(self, connection: Writer, state: WorkingSet) -> None:
        """What changed."""
        await working_set.save(connection, state)
