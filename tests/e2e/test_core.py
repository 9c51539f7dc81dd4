"""The core from end to end: a real catalogue, three locations, five hundred buyers, one kill -9, nothing lost."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from beautymesh.common.v1 import watch_pb2 as common_pb2
from beautymesh.inventory.v1 import (
    availability_pb2,
    catalogue_pb2,
    inventory_pb2_grpc,
    reservation_pb2,
    stock_pb2,
    watch_pb2,
)
from inventory_svc.store.migrations import MIGRATIONS
from meshctl.catalogue_file import read_catalogue
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.tokens import ensure_keys
from tests.channels import reached
from tests.embedded import Embedded
from tests.faults.machine import free_port
from tests.inventory.clients import Stub
from tests.processes import Stack, process_beside
from tests.sizes import SIZES, seeded

CATALOGUE = Path(__file__).parents[3] / "shared" / "data" / "cosmetics.csv"
SAMPLE = "\n".join(
    [
        "Label,Brand,Name,Price",
        *[f"Moisturizer,LA MAISON,Crème No {number},{number}" for number in range(1, 41)],
    ]
)
"""A small one of our own, where the real one is not there."""
LOCATIONS = {"ROTTERDAM": 40, "PARIS-7": 35, "AMAZON-FBA": 25}
"""Where the last hundred units of one product lie."""
PASSING = frozenset({Kind.UNAVAILABLE, Kind.LATE, Kind.TOO_MANY})


@pytest.fixture
def stack(embedded: Embedded, tmp_path: Path) -> Iterator[Stack]:
    """A migrated database of the test's own."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    yield Stack(url, embedded.redis_url, ensure_keys(tmp_path), tmp_path)
    embedded.drop_database(url)


def read_skus() -> list[catalogue_pb2.Sku]:
    """The catalogue: the real one if it is there."""
    if CATALOGUE.exists():
        return list(read_catalogue(CATALOGUE.read_bytes(), encoding="cp1252").skus)
    return list(read_catalogue(SAMPLE.encode("cp1252"), encoding="cp1252").skus)


async def fill(stub: Stub, skus: list[catalogue_pb2.Sku]) -> str:
    """Imports the catalogue and receives stock; returns the SKU of which a hundred units are left."""
    created = await stub.BatchUpsertSkus(
        catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=skus), timeout=60
    )
    assert (created.created, created.updated, created.unchanged) == (len(skus), 0, 0)
    again = await stub.BatchUpsertSkus(catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=skus), timeout=60)
    assert (again.created, again.updated, again.unchanged) == (0, 0, len(skus))
    places = [catalogue_pb2.Location(location=each, name=each.title()) for each in LOCATIONS]
    await stub.BatchUpsertLocations(catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=places))
    wanted = skus[len(skus) // 2].sku
    for location, units in LOCATIONS.items():
        lines = [
            stock_pb2.StockLine(sku=sku.sku, location=location, quantity=units if sku.sku == wanted else 1_000)
            for sku in skus
        ]
        await stub.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=new_id(), lines=lines), timeout=60)
    return wanted


class Watcher:
    """One client that follows the stream across everything, and checks that it sees each revision once, in order."""

    def __init__(self) -> None:
        self.covered = -1
        self.token = ""
        self.sellable: dict[str, int] = {}
        self.levels: dict[tuple[str, str], tuple[int, int, int]] = {}
        self.kinds: Counter[int] = Counter()
        self.started = asyncio.Event()

    async def follow(self, stub: Stub) -> None:
        """Follows until cancelled; resumes where it was when the stream breaks."""
        while True:
            try:
                request = watch_pb2.WatchStockRequest(
                    resume_token=self.token, catch_up=common_pb2.CATCH_UP_EVERY_REVISION
                )
                async for message in stub.WatchStock(request, timeout=120):
                    self.take(message)
            except MeshError as broken:
                if broken.kind not in PASSING:
                    raise
                await asyncio.sleep(0.05)

    def take(self, message: watch_pb2.WatchStockResponse) -> None:
        """One message: its range must follow the one before."""
        position = message.position
        if self.covered >= 0:
            assert position.covers_from == self.covered, f"{position} after {self.covered}"
        body = message.WhichOneof("body")
        if body == "snapshot":
            for level in message.snapshot.levels:
                counters = level.counters
                self.levels[level.sku, level.location] = (counters.on_hand, counters.reserved, counters.allocated)
            for entry in message.snapshot.sellable:
                self.sellable[entry.sku] = entry.sellable
        elif body == "deltas":
            for delta in message.deltas.deltas:
                assert position.covers_from < delta.revision <= position.covers_to
                self.take_delta(delta)
        if position.resume_token:
            self.token = position.resume_token
            self.covered = position.covers_to
        if body == "snapshot_complete":
            self.started.set()

    async def reached(self, revision: int, following: asyncio.Task[None]) -> None:
        """Waits until the stream has accounted for the revision."""
        async with asyncio.timeout(20):
            while self.covered < revision:
                assert not following.done(), following.exception()
                await asyncio.sleep(0.01)

    def take_delta(self, delta: watch_pb2.StockDelta) -> None:
        """`before` is what this client has: nothing was missed, nothing came twice."""
        self.kinds[delta.kind] += 1
        if delta.HasField("sellable"):
            change = delta.sellable
            assert self.sellable.get(change.sku, 0) == change.before
            self.sellable[change.sku] = change.after
        else:
            level = delta.level
            before, after = (
                (counters.on_hand, counters.reserved, counters.allocated) for counters in (level.before, level.after)
            )
            assert self.levels.get((level.sku, level.location), (0, 0, 0)) == before
            self.levels[level.sku, level.location] = after


@dataclass
class Race:
    """Clients that each want one unit of a product, wherever it lies, and remember every answer."""

    stub: Stub
    wanted: str
    random: random.Random
    answers: dict[str, reservation_pb2.ReserveStockResponse] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    repeats: int = 0

    async def run(self, number: int) -> None:
        """One client: tries the locations in an order of its own; every fifth asks everything twice."""
        for location in self.random.sample(sorted(LOCATIONS), len(LOCATIONS)):
            line = reservation_pb2.ReserveLine(sku=self.wanted, location=location, quantity=1)
            request = reservation_pb2.ReserveStockRequest(request_id=f"client-{number}-{location}", lines=[line])
            outcome = await self.send(request)
            if number % 5 == 0:  # 20 %: again, under the same id
                self.repeats += 1
                assert await self.send(request) == outcome
            if outcome != "INSUFFICIENT_STOCK":
                self.outcomes["reserved"] += 1
                return
        self.outcomes["sold out"] += 1

    async def send(self, request: reservation_pb2.ReserveStockRequest) -> str:
        """Until there is an answer that lasts; the reservation's id, or the reason of the refusal."""
        while True:
            try:
                answer = await self.stub.ReserveStock(request, timeout=10)
            except MeshError as refused:
                if refused.reason == "INSUFFICIENT_STOCK":
                    return refused.reason
                if refused.kind not in PASSING:
                    raise
                self.outcomes[refused.reason] += 1
                await asyncio.sleep(0.1 + 0.1 * self.random.random())  # as a client would: not all at the same moment
                continue
            assert self.answers.setdefault(request.request_id, answer) == answer, "a repeat had another answer"
            return answer.reservation_id

    async def answered(self, number: int) -> None:
        """Waits until so many have a unit."""
        async with asyncio.timeout(30):
            while len(self.answers) < number:
                await asyncio.sleep(0)


async def test_five_hundred_clients_race_for_the_last_hundred_units(stack: Stack) -> None:
    listen = f"127.0.0.1:{free_port()}"
    skus = read_skus()
    watcher = Watcher()
    token = stack.token()
    async with grpc_channel(listen, token=lambda: token) as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        async with process_beside(stack, grpc_listen=listen) as service:
            await reached(channel)
            race = Race(stub, await fill(stub, skus), seeded("five hundred clients"))
            watching = asyncio.create_task(watcher.follow(stub))
            await asyncio.wait({asyncio.create_task(watcher.started.wait()), watching}, return_when="FIRST_COMPLETED")
            assert watcher.sellable[race.wanted] == 100
            racing = asyncio.gather(*[race.run(number) for number in range(SIZES.race_clients)])
            await race.answered(30)
            service.kill()
        async with process_beside(stack, grpc_listen=listen):
            await asyncio.wait_for(racing, 60)
            assert race.outcomes["reserved"] == len(race.answers) == 100
            assert race.outcomes["sold out"] == SIZES.race_clients - 100
            assert race.outcomes["UNAVAILABLE"] > 0, "the kill came too late to be noticed"
            assert race.repeats >= SIZES.race_clients // 5
            await assert_the_service_says_the_same(stub, race.wanted, skus)
            await watcher.reached(max(answer.revision for answer in race.answers.values()), watching)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert watcher.sellable[race.wanted] == 0
    assert {location: watcher.levels[race.wanted, location] for location in LOCATIONS} == {
        location: (units, units, 0) for location, units in LOCATIONS.items()
    }
    assert watcher.kinds[stock_pb2.STOCK_EVENT_KIND_STOCK_RESERVED] == 100
    assert_the_database_says_the_same(stack, race.wanted, race.answers)


async def assert_the_service_says_the_same(stub: Stub, wanted: str, skus: list[catalogue_pb2.Sku]) -> None:
    """Sold out, every location reserved to the last unit, and the whole ledger sound."""
    found = await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku=wanted, include_levels=True))
    assert found.availability.sellable == 0
    assert {
        level.location: (level.counters.on_hand, level.counters.reserved) for level in found.availability.levels
    } == {location: (units, units) for location, units in LOCATIONS.items()}
    steps = [step async for step in stub.VerifyLedger(stock_pb2.VerifyLedgerRequest(), timeout=60)]
    assert [problem for step in steps for problem in step.problems] == []
    assert steps[-1].done
    assert (steps[-1].checked_revision, steps[-1].checked_rows > len(skus)) == (steps[-1].head_revision, True)


def assert_the_database_says_the_same(
    stack: Stack, wanted: str, answers: dict[str, reservation_pb2.ReserveStockResponse]
) -> None:
    """One reservation for each answer, at the revision that the answer names; revisions without a gap."""
    with psycopg.connect(stack.database_url) as connection:
        reserved = connection.execute(
            "SELECT q.request_id, r.reservation_id, e.revision FROM log_request q JOIN reservation r USING (revision) "
            "JOIN log_event e USING (revision) WHERE e.kind = 'stock_reserved' AND q.method LIKE '%ReserveStock'"
        ).fetchall()
        assert {request_id: (reservation_id, revision) for request_id, reservation_id, revision in reserved} == {
            request_id: (answer.reservation_id, answer.revision) for request_id, answer in answers.items()
        }
        row = connection.execute(
            "SELECT count(DISTINCT revision), max(revision), (SELECT revision FROM log_head) FROM log_event"
        ).fetchone()
        assert row is not None
        assert row[0] == row[1] == row[2]
        units = connection.execute("SELECT sum(quantity) FROM reservation_line WHERE sku = %s", [wanted]).fetchone()
        assert units == (100,)
