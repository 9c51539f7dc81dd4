"""WatchStock over gRPC, against the whole service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from beautymesh.common.v1.watch_pb2 import CATCH_UP_EVERY_REVISION
from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2_grpc, reservation_pb2, stock_pb2, watch_pb2
from inventory_svc.bootstrap import build
from inventory_svc.rpc.service import DESCRIPTOR
from inventory_svc.settings import InventorySettings
from meshkit.core.clock import SystemClock
from meshkit.core.errors import OutsideGrant, ResumeTokenInvalid
from meshkit.feed.follower import Follower, MemoryPosition
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.rpc.tokens import TokenIssuer, TokenVerifier, ensure_keys
from meshkit.service import Runtime
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected
from tests.inventory.stock import StockDatabase

SCOPES = frozenset({"inventory.read", "inventory.reserve", "inventory.stock.write", "inventory.catalogue.write"})
SKUS, LOCATIONS = ("BALM", "GLOSS", "ROUGE"), ("lyon", "paris")
Response = watch_pb2.WatchStockResponse


@dataclass
class Shop:
    """A client of a running service."""

    port: int
    issuer: TokenIssuer
    stub: inventory_pb2_grpc.InventoryServiceAsyncStub
    numbers: count[int]

    def request_id(self) -> str:
        return f"request-{next(self.numbers)}"

    async def fill(self) -> None:
        """SKUs, locations, and 100 units of each SKU at each location."""
        await self.stub.BatchUpsertSkus(
            catalogue_pb2.BatchUpsertSkusRequest(
                request_id=self.request_id(), skus=[catalogue_pb2.Sku(sku=sku, name=sku) for sku in SKUS]
            )
        )
        await self.stub.BatchUpsertLocations(
            catalogue_pb2.BatchUpsertLocationsRequest(
                request_id=self.request_id(),
                locations=[catalogue_pb2.Location(location=each, name=each) for each in LOCATIONS],
            )
        )
        lines = [stock_pb2.StockLine(sku=sku, location=place, quantity=100) for sku in SKUS for place in LOCATIONS]
        await self.stub.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=self.request_id(), lines=lines))

    async def reserve(self, sku: str, location: str, quantity: int) -> reservation_pb2.ReserveStockResponse:
        line = reservation_pb2.ReserveLine(sku=sku, location=location, quantity=quantity)
        request = reservation_pb2.ReserveStockRequest(request_id=self.request_id(), lines=[line])
        answer: reservation_pb2.ReserveStockResponse = await self.stub.ReserveStock(request)
        return answer

    @asynccontextmanager
    async def open(self, request: watch_pb2.WatchStockRequest) -> AsyncIterator[AsyncIterator[Response]]:
        """A stream, cancelled at the end."""
        call = self.stub.WatchStock(request)
        try:
            yield aiter(call)
        finally:
            call.cancel()

    async def watch(self, request: watch_pb2.WatchStockRequest, messages: int) -> list[Response]:
        """The first messages of a stream."""
        found = []
        async with asyncio.timeout(60), self.open(request) as stream:
            async for message in stream:
                found.append(message)
                if len(found) == messages:
                    break
        return found


@asynccontextmanager
async def open_shop(port: int, issuer: TokenIssuer, *, locations: frozenset[str] = frozenset()) -> AsyncIterator[Shop]:
    token = issuer.issue(subject="ann", client_id="shop", scopes=SCOPES, lifetime_seconds=60, locations=locations)
    async with connected(f"127.0.0.1:{port}", services=[DESCRIPTOR], token=lambda: token) as channel:
        yield Shop(port, issuer, inventory_pb2_grpc.InventoryServiceStub(channel), count())


@pytest.fixture
async def shop(database: StockDatabase, tmp_path: Path) -> AsyncIterator[Shop]:
    """A service on an empty database, and a client that may do everything."""
    clock = SystemClock()
    keys = ensure_keys(tmp_path)
    issuer = TokenIssuer.from_key_file(keys.signing_key_file, issuer="test", clock=clock)
    verifier = TokenVerifier(keys.jwks_file, issuer="test", clock=clock)
    settings = InventorySettings(database_url=database.url, drain_wait_seconds=0, feed_window_events_max=100)
    metrics, tracing = Metrics(), Tracing()
    runtime = Runtime(settings, clock, metrics, tracing, verifier, None)
    async with build(runtime) as parts:
        health = Health(services=(DESCRIPTOR.full_name,), checks=parts.checks, metrics=metrics)
        server = MeshServer(
            parts.servicers,
            listen="127.0.0.1:0",
            interceptors=Interceptors(verifier=verifier, metrics=metrics, tracing=tracing),
            health=health,
            on_drain=parts.on_drain,
        )
        await server.start()
        tasks = [asyncio.ensure_future(task()) for task in parts.tasks]
        try:
            async with asyncio.timeout(60):
                while not health.ready:
                    await health.check_once()
            async with open_shop(server.port, issuer) as shop:
                await shop.fill()
                yield shop
        finally:
            await server.drain(wait_seconds=0, grace_seconds=1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_stream_begins_with_levels_then_sellable_quantities(shop: Shop) -> None:
    levels, sellable, complete = await shop.watch(watch_pb2.WatchStockRequest(), 3)
    assert [(row.sku, row.location, row.counters.on_hand, row.available) for row in levels.snapshot.levels] == [
        (sku, place, 100, 100) for sku in SKUS for place in LOCATIONS
    ]
    assert [(row.sku, row.channel, row.sellable) for row in sellable.snapshot.sellable] == [
        (sku, "default", 200) for sku in SKUS
    ]
    assert complete.snapshot_complete.revision == levels.position.covers_to == 3


async def test_a_reservation_comes_as_a_level_and_a_sellable_delta(shop: Shop) -> None:
    async with (
        asyncio.timeout(60),
        shop.open(watch_pb2.WatchStockRequest(skip_snapshot=True)) as stream,
    ):
        await anext(stream)
        held = await shop.reserve("ROUGE", "paris", 3)
        message = await anext(stream)
    level, sellable = message.deltas.deltas
    assert (level.revision, level.kind, level.level.reservation_id) == (
        held.revision,
        stock_pb2.STOCK_EVENT_KIND_STOCK_RESERVED,
        held.reservation_id,
    )
    assert level.level.before == stock_pb2.Counters(on_hand=100)
    assert level.level.after == stock_pb2.Counters(on_hand=100, reserved=3)
    assert level.level.expire_time == held.expire_time
    assert sellable.kind == stock_pb2.STOCK_EVENT_KIND_SELLABLE_CHANGED
    assert sellable.sellable == stock_pb2.SellableDelta(sku="ROUGE", channel="default", before=200, after=197)


FILTERS = [
    (watch_pb2.StockFilter(skus=["ROUGE"]), 2, 1),
    (watch_pb2.StockFilter(locations=["paris"]), 3, 3),
    (watch_pb2.StockFilter(skus=["ROUGE", "BALM"], locations=["paris"]), 2, 2),
    (watch_pb2.StockFilter(omit_levels=True), 0, 3),
    (watch_pb2.StockFilter(omit_sellable=True), 6, 0),
    (watch_pb2.StockFilter(channels=["other"]), 6, 0),
    (watch_pb2.StockFilter(omit_levels=True, omit_sellable=True), 0, 0),
]


@pytest.mark.parametrize(("asked", "levels", "sellable"), FILTERS)
async def test_a_filter_holds_for_rows_and_for_deltas(
    shop: Shop, asked: watch_pb2.StockFilter, levels: int, sellable: int
) -> None:
    request = watch_pb2.WatchStockRequest(filter=asked)
    rows: list[object] = []
    deltas: list[watch_pb2.StockDelta] = []
    async with asyncio.timeout(60), shop.open(request) as stream:
        last = 2**62
        async for message in stream:
            rows += [*message.snapshot.levels, *message.snapshot.sellable]
            deltas += message.deltas.deltas
            if message.WhichOneof("body") == "snapshot_complete":
                for sku in SKUS:
                    for place in LOCATIONS:
                        last = (await shop.reserve(sku, place, 1)).revision
            if message.position.covers_to >= last:
                break
    assert len([row for row in rows if isinstance(row, stock_pb2.StockLevel)]) == levels
    assert len([row for row in rows if isinstance(row, watch_pb2.SellableLevel)]) == sellable
    assert len([delta for delta in deltas if delta.HasField("level")]) == levels
    assert len([delta for delta in deltas if delta.HasField("sellable")]) == 2 * sellable


async def test_a_token_limited_to_a_location_sees_its_levels_only(shop: Shop) -> None:
    async with open_shop(shop.port, shop.issuer, locations=frozenset({"lyon"})) as limited:
        levels, *_ = await limited.watch(watch_pb2.WatchStockRequest(), 3)
        assert {row.location for row in levels.snapshot.levels} == {"lyon"}
        foreign = watch_pb2.WatchStockRequest(filter=watch_pb2.StockFilter(locations=["paris"]))
        with pytest.raises(OutsideGrant):
            await limited.watch(foreign, 1)


async def test_a_token_of_another_filter_is_refused(shop: Shop) -> None:
    (first,) = await shop.watch(watch_pb2.WatchStockRequest(skip_snapshot=True), 1)
    request = watch_pb2.WatchStockRequest(
        filter=watch_pb2.StockFilter(omit_levels=True), resume_token=first.position.resume_token
    )
    with pytest.raises(ResumeTokenInvalid):
        await shop.watch(request, 1)


async def test_a_stream_behind_the_window_gets_one_delta_a_key_or_every_revision(shop: Shop) -> None:
    (first,) = await shop.watch(watch_pb2.WatchStockRequest(skip_snapshot=True), 1)
    for _ in range(60):  # 120 events, and the window holds 100
        last = await shop.reserve("ROUGE", "paris", 1)
    request = watch_pb2.WatchStockRequest(resume_token=first.position.resume_token)
    (folded,) = await shop.watch(request, 1)
    request.catch_up = CATCH_UP_EVERY_REVISION
    (unfolded,) = await shop.watch(request, 1)

    assert (folded.position.covers_from, folded.position.covers_to) == (first.position.covers_to, last.revision)
    assert folded.deltas.conflated
    level, sellable = folded.deltas.deltas
    assert level.level.before == stock_pb2.Counters(on_hand=100)
    assert level.level.after == stock_pb2.Counters(on_hand=100, reserved=60)
    assert (level.revision, level.level.reservation_id) == (last.revision, last.reservation_id)
    assert (sellable.sellable.before, sellable.sellable.after) == (200, 140)

    assert not unfolded.deltas.conflated
    assert [delta.sellable.after for delta in unfolded.deltas.deltas if delta.HasField("sellable")] == [
        *range(199, 139, -1)
    ]


class Levels:
    """A mirror of all levels."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[int, int]] = {}
        self.complete = asyncio.Event()

    async def begin_snapshot(self) -> None:
        self.rows.clear()

    async def apply(self, response: Response) -> None:
        for row in response.snapshot.levels:
            self.rows[row.sku, row.location] = (row.revision, row.counters.reserved)
        for delta in response.deltas.deltas:
            key = (delta.level.sku, delta.level.location)
            if delta.HasField("level") and delta.revision > self.rows.get(key, (0, 0))[0]:
                self.rows[key] = (delta.revision, delta.level.after.reserved)

    async def complete_snapshot(self, revision: int) -> None:
        self.complete.set()


async def test_a_follower_mirrors_the_levels(shop: Shop) -> None:
    levels = Levels()
    follower = Follower(
        lambda token: shop.stub.WatchStock(watch_pb2.WatchStockRequest(resume_token=token)),
        consumer=levels,
        positions=MemoryPosition(),
        name="mirror",
    )
    following = asyncio.create_task(follower.run())
    async with asyncio.timeout(60):
        await levels.complete.wait()
        answers = await asyncio.gather(
            *(shop.reserve(sku, place, 1) for sku in SKUS for place in LOCATIONS for _ in range(9))
        )
        last = max(answer.revision for answer in answers)
        while follower.covers_to < last:  # noqa: ASYNC110 — seen as its user sees it
            await asyncio.sleep(0.005)
    following.cancel()
    assert {key: reserved for key, (_, reserved) in levels.rows.items()} == {
        (sku, place): 9 for sku in SKUS for place in LOCATIONS
    }


async def test_the_command_prints_the_stream_as_json_and_ends_with_ctrl_c(shop: Shop) -> None:
    token = shop.issuer.issue(subject="ann", client_id="shop", scopes=SCOPES, lifetime_seconds=60)
    # A shell starts what runs in the background with Ctrl-C ignored, and so all of its children.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}; from meshctl.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "watch", "--address", f"127.0.0.1:{shop.port}", "--sku", "ROUGE", "--json"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "BEAUTYMESH_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        bodies = [list(json.loads(await process.stdout.readline()))[1] for _ in range(3)]
        await shop.reserve("BALM", "paris", 1)
        await shop.reserve("ROUGE", "paris", 3)
        while "deltas" not in (message := json.loads(await process.stdout.readline())):
            pass
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert bodies == ["snapshot", "snapshot", "snapshot_complete"]
    assert [delta["kind"] for delta in message["deltas"]["deltas"]] == [
        "STOCK_EVENT_KIND_STOCK_RESERVED",
        "STOCK_EVENT_KIND_SELLABLE_CHANGED",
    ]
