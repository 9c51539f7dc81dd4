"""How the inventory service is put together: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from inventory_svc.domain import decide as rules
from inventory_svc.domain.decide import Body, Event, Reply, StockDecision, WorkingSet
from inventory_svc.domain.reservations import Expire
from inventory_svc.store import working_set
from inventory_svc.wire import events, replies
from meshkit.core.decision import Decision, Facts, Origin
from meshkit.log.model import Command, Record, Writer

SERVICE = "inventory"
MIGRATIONS = Path(__file__).parent / "store" / "migrations"
ITSELF = Origin(principal="service:inventory", client_id="service:inventory")
"""On whose behalf time acts."""


class StockModel:
    """What inventory brings to the log kernel; see `meshkit.log.model.Model`."""

    async def load(self, connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
        """The rows that the bodies name and the holds that lapse on them."""
        return await working_set.load(connection, bodies, horizon=horizon)

    def lapsed(self, state: WorkingSet, now: datetime) -> Iterable[Command[Body]]:
        """An expiry for each hold that has lapsed."""
        return [expiry(held.reservation_id, held.expire_time) for held in rules.lapsed(state, now)]

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


def expiry(reservation_id: str, expire_time: datetime) -> Command[Body]:
    """The command that time gives when a hold lapses. The hold's own state makes it idempotent."""
    return Command(
        body=Expire(reservation_id),
        method="Expire",
        request_id=f"expire:{reservation_id}",
        origin=ITSELF,
        occur_time=expire_time,
        remembered=False,
    )
