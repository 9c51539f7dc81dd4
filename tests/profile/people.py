"""The profile's writer on a real database, without the service around it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.decision import Origin
from meshkit.core.errors import MeshError
from meshkit.core.money import Money
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Answer, Command, EventRow, Fence, Head
from meshkit.log.verify import Problem
from meshkit.log.writer import LogWriter
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from profile_svc.bootstrap import ProfileModel
from profile_svc.domain.decide import Body, Event, Reply, WorkingSet
from profile_svc.domain.purchases import PurchaseLine, RecordPurchase
from profile_svc.usecases.verify_profiles import verify_profiles
from profile_svc.wire.messages import noun
from tests.meshkit.log.tally import Database

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LINES = (PurchaseLine("LIP-RED", 2, Money(2_400, "EUR")), PurchaseLine("MASCARA", 1))

_numbers = itertools.count(1)


def buy(profile_id: str = "ann", purchase_id: str = "", **fields: object) -> RecordPurchase:
    """A purchase that is right, under an id of its own unless one is given; `fields` replace the rest."""
    defaults: dict[str, object] = {
        "purchase_id": purchase_id or f"p{next(_numbers)}",
        "profile_id": profile_id,
        "order_reference": "order-1",
        "lines": LINES,
        "total": Money(2_999, "EUR"),
    }
    return RecordPurchase(**{**defaults, **fields})  # type: ignore[arg-type]  # a table's


class People(LogWriter[Body, WorkingSet, Event, Reply]):
    """A writer that keeps the events that it committed."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.events: list[EventRow] = []

        def committed(events: Sequence[EventRow], head: Head) -> None:
            self.events.extend(events)

        super().__init__(
            ProfileModel(),
            url=url,
            clock=clock,
            limits=Limits(decide_seconds_max=10.0),
            metrics=LogMetrics(Metrics()),
            tracing=Tracing(),
            on_commit=committed,
        )

    async def do(self, *bodies: Body) -> list[Answer | MeshError]:
        """Does the commands in one batch, each under a request id of its own."""
        return await self.submit_all([command(body) for body in bodies])

    async def refusal(self, body: Body) -> MeshError:
        """The refusal of a command that must be refused."""
        (refused,) = await self.do(body)
        assert isinstance(refused, MeshError), refused
        return refused


def command(body: Body, request_id: str = "", *, fence: Fence | None = None) -> Command[Body]:
    """A command as an RPC would make it."""
    return Command(
        body=body,
        method=type(body).__name__,
        request_id=request_id or f"r{next(_numbers)}",
        origin=Origin("user:ann", "client:shop"),
        fence=fence,
        occur_time=body.occur_time if isinstance(body, RecordPurchase) else None,
    )


class PeopleDatabase(Database):
    """A second look at the profile's tables."""

    tables = "log_head, log_event, log_request, log_saga_fence, profile, purchase, purchase_line"

    def order_counts(self) -> dict[str, int]:
        """The order count of every profile."""
        return dict(self.rows("SELECT profile_id, order_count FROM profile"))

    def purchase_ids(self) -> set[str]:
        """The ids of all purchases."""
        return {each for (each,) in self.rows("SELECT purchase_id FROM purchase")}


async def problems_of(engine: AsyncEngine) -> list[Problem]:
    """What the audit finds."""
    steps = [step async for step in verify_profiles(engine, message_of=noun)]
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    return [problem for step in steps for problem in step.problems]
