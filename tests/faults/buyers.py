"""Clients that go on buying whatever happens, and remember every answer."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import psycopg

from beautymesh.inventory.v1 import catalogue_pb2, reservation_pb2, stock_pb2
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from tests.inventory.clients import Stub

PASSING = frozenset({Kind.UNAVAILABLE, Kind.LATE, Kind.TOO_MANY})
"""Answers after which the same request is sent again under the same id."""
LOCATION = "BERLIN"


@dataclass
class Buyers:
    """Each buyer reserves one unit after another. Some requests are sent again though they were answered."""

    stubs: Sequence[Stub]
    skus: Sequence[str]
    random: random.Random
    answers: dict[str, bytes] = field(default_factory=dict)
    refusals: set[str] = field(default_factory=set)
    passing: dict[str, int] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    repeats: int = 0
    stopped: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def buy_until_stopped(self) -> None:
        """One buyer's life; what it has begun is brought to an end."""
        while not self.stopped:
            await self.buy()

    async def buy(self, quantity: int = 1, again: float = 0.2) -> None:
        """Reserves a unit, and, with the probability `again`, asks a second time under the same id."""
        line = reservation_pb2.ReserveLine(sku=self.random.choice(self.skus), location=LOCATION, quantity=quantity)
        request = reservation_pb2.ReserveStockRequest(request_id=new_id(), lines=[line])
        await self.send(request)
        if self.random.random() < again:
            self.repeats += 1
            await self.send(request)

    async def buy_once(self, *, seconds_max: float = 300.0) -> None:
        """Reserves a unit and takes whatever answer comes first.

        Raises:
            MeshError: the answer.
        """
        line = reservation_pb2.ReserveLine(sku=self.random.choice(self.skus), location=LOCATION, quantity=1)
        request = reservation_pb2.ReserveStockRequest(request_id=new_id(), lines=[line])
        answer = await self.random.choice(self.stubs).ReserveStock(request, timeout=seconds_max)
        self.answers[request.request_id] = answer.SerializeToString()

    async def send(self, request: reservation_pb2.ReserveStockRequest) -> None:
        """Sends it until there is an answer that lasts."""
        while True:
            stub = self.random.choice(self.stubs)
            try:
                answer = (await stub.ReserveStock(request, timeout=60)).SerializeToString()
            except MeshError as refused:
                if refused.kind in PASSING:
                    self.passing[refused.reason] = self.passing.get(refused.reason, 0) + 1
                    await asyncio.sleep(0.02)
                    continue
                self.refusals.add(refused.reason)
                return
            if self.answers.setdefault(request.request_id, answer) != answer:
                self.changed.append(request.request_id)
            return

    @contextlib.asynccontextmanager
    async def buying(self, buyers: int) -> AsyncIterator[None]:
        """So many buyers at work meanwhile."""
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self.buy_until_stopped()) for _ in range(buyers)]
            try:
                yield
            finally:
                self.stopped = True

    async def stop(self) -> None:
        """Nobody begins anything more; returns when everybody has the last answer."""
        self.stopped = True
        await asyncio.wait(self._tasks)

    async def answered(self, number: int, *, seconds: float = 30.0) -> None:
        """Waits until so many more requests have been answered."""
        wanted = len(self.answers) + number
        async with asyncio.timeout(seconds):
            while len(self.answers) < wanted:
                await asyncio.sleep(0.005)


async def stock_up(stub: Stub, skus: Sequence[str], units: int) -> None:
    """Makes the SKUs known at one location and receives units of each."""
    await stub.BatchUpsertSkus(
        catalogue_pb2.BatchUpsertSkusRequest(
            request_id=new_id(), skus=[catalogue_pb2.Sku(sku=sku, name=sku) for sku in skus]
        )
    )
    await stub.BatchUpsertLocations(
        catalogue_pb2.BatchUpsertLocationsRequest(
            request_id=new_id(), locations=[catalogue_pb2.Location(location=LOCATION, name="Berlin")]
        )
    )
    lines = [stock_pb2.StockLine(sku=sku, location=LOCATION, quantity=units) for sku in skus]
    await stub.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=new_id(), lines=lines))


async def assert_nothing_lost_and_nothing_twice(buyers: Buyers, stub: Stub, database_url: str) -> None:
    """Acknowledged = remembered = reserved, once each; the log is contiguous and says what the levels say."""
    assert buyers.changed == [], "a repeat had another answer than the first"
    with psycopg.connect(database_url, autocommit=True) as connection:

        def rows(sql: str) -> list[tuple[object, ...]]:
            return connection.execute(sql.encode()).fetchall()

        kept = {
            str(request_id)
            for (request_id,) in rows("SELECT request_id FROM log_request WHERE method LIKE '%ReserveStock'")
        }
        assert kept == set(buyers.answers)
        reserved = {str(row[0]) for row in rows("SELECT reservation_id FROM reservation")}
        answered = {
            reservation_pb2.ReserveStockResponse.FromString(each).reservation_id for each in buyers.answers.values()
        }
        assert reserved == answered
        assert len(answered) == len(buyers.answers)
        ((units,),) = rows("SELECT coalesce(sum(quantity), 0)::bigint FROM reservation_line")
        ((counted,),) = rows("SELECT sum(reserved)::bigint FROM stock_level")
        assert counted == units
        ((revisions, last, head),) = rows(
            "SELECT count(DISTINCT e.revision), max(e.revision), max(h.revision) FROM log_event e, log_head h"
        )
        assert revisions == last == head
    problems = [
        problem async for step in stub.VerifyLedger(stock_pb2.VerifyLedgerRequest()) for problem in step.problems
    ]
    assert problems == []
