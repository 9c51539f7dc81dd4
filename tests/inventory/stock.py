"""Inventory's writer on a real database, without the service around it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.bootstrap import StockModel
from inventory_svc.domain.catalogue import Location, Sku, UpsertLocations, UpsertSkus
from inventory_svc.domain.decide import Body, Event, Reply, WorkingSet
from inventory_svc.domain.movements import Receive
from inventory_svc.domain.stock import LevelKey
from inventory_svc.usecases.verify_ledger import verify_ledger
from meshkit.core.clock import Clock
from meshkit.core.decision import Origin
from meshkit.core.errors import MeshError
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Answer, Command, EventRow, Head
from meshkit.log.verify import Problem
from meshkit.log.writer import LogWriter
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.meshkit.log.tally import Database

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A = LevelKey("LIP-RED", "BERLIN", "")
B = LevelKey("LIP-RED", "PARIS", "")
C = LevelKey("MASCARA", "BERLIN", "")
D = LevelKey("MASCARA", "PARIS", "")
KEYS = (A, B, C, D)
TABLES = (
    "log_head, log_event, log_request, log_saga_fence, "
    "sku, location, stock_level, sellable, reservation, reservation_line"
)


_request_numbers = itertools.count(1)


class Stock(LogWriter[Body, WorkingSet, Event, Reply]):
    """A writer that keeps the events that it committed, also by batch."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.events: list[EventRow] = []
        self.commits: list[list[EventRow]] = []

        def committed(events: Sequence[EventRow], head: Head) -> None:
            self.events.extend(events)
            self.commits.append(list(events))

        super().__init__(
            StockModel(),
            url=url,
            clock=clock,
            limits=Limits(decide_seconds_max=10.0),
            metrics=LogMetrics(Metrics()),
            tracing=Tracing(),
            on_commit=committed,
        )

    def command(self, body: Body, client: str = "client:shop") -> Command[Body]:
        """A command under an id of its own."""
        return Command(body, type(body).__name__, f"r{next(_request_numbers)}", Origin("user:ann", client))

    async def do(self, *bodies: Body) -> list[Answer | MeshError]:
        """Does the commands in one batch."""
        return await self.submit_all([self.command(body) for body in bodies])

    async def refusal(self, body: Body) -> str:
        """The reason why the command is refused."""
        (refused,) = await self.do(body)
        assert isinstance(refused, MeshError), refused
        return refused.reason

    async def fill(self, units: int = 10) -> None:
        """Makes the SKUs and locations known and receives units at every level."""
        for answer in await self.do(
            UpsertSkus(tuple(Sku(code, code.title()) for code in ("LIP-RED", "MASCARA"))),
            UpsertLocations(tuple(Location(code, code.title()) for code in ("BERLIN", "PARIS"))),
            Receive(tuple((key, units) for key in KEYS)),
        ):
            assert isinstance(answer, Answer), answer


class StockDatabase(Database):
    """A second look at inventory's tables."""

    tables = TABLES

    def levels(self) -> dict[LevelKey, tuple[int, int, int, int]]:
        """The counters of every level."""
        rows = self.rows("SELECT sku, location, lot, on_hand, unavailable, reserved, allocated FROM stock_level")
        return {LevelKey(*row[:3]): (row[3], row[4], row[5], row[6]) for row in rows}

    def sellable(self) -> dict[str, int]:
        """What the default channel may sell, by SKU."""
        return dict(self.rows("SELECT sku, units FROM sellable WHERE channel = 'default'"))

    def reservation_states(self) -> dict[str, str]:
        """The state of every reservation."""
        return dict(self.rows("SELECT reservation_id, state FROM reservation"))


async def ledger_problems(engine: AsyncEngine) -> list[Problem]:
    """What the ledger check finds."""
    steps = [step async for step in verify_ledger(engine)]
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    return [problem for step in steps for problem in step.problems]
