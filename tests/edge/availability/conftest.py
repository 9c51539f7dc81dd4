"""Real inventory processes, and the edge's cache before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2_grpc, reservation_pb2, stock_pb2
from edge_gateway.clients.availability import AvailabilityCache
from inventory_svc.rpc.service import DESCRIPTOR
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ServiceTokens, TokenIssuer, ensure_keys
from meshkit.telemetry.metrics import Metrics
from tests.channels import connected
from tests.edge.availability.fake import Hand, running, until
from tests.embedded import Embedded
from tests.inventory.clients import Stub
from tests.processes import ISSUER, Stack

SKUS = ("BALM", "GLOSS", "ROUGE")


@pytest.fixture
def make_stack(embedded: Embedded, tmp_path: Path) -> Iterator[Callable[[], Stack]]:
    """Makes migrated databases, all with the same keys."""
    made: list[str] = []

    def make() -> Stack:
        url = embedded.make_database("inventory")
        made.append(url)
        migrate(url, MIGRATIONS)
        return Stack(url, embedded.redis_url, ensure_keys(tmp_path), tmp_path)

    yield make
    for url in made:
        embedded.drop_database(url)


@asynccontextmanager
async def edge(
    stack: Stack, target: str, *, entries_max: int = 100, clock: Hand | None = None
) -> AsyncIterator[AvailabilityCache]:
    """The cache with the edge's own token, once its stream has begun."""
    issuer = TokenIssuer.from_key_file(stack.keys.signing_key_file, issuer=ISSUER)
    tokens = ServiceTokens(issuer, service="edge", scopes=frozenset({"inventory.read"}))
    async with connected(target, services=[DESCRIPTOR], token=partial(tokens.token_for, None)) as channel:
        cache = AvailabilityCache(
            inventory_pb2_grpc.InventoryServiceStub(channel),
            entries_max=entries_max,
            metrics=Metrics(),
            clock_seconds=clock or Hand(),
        )
        async with running(cache):
            await until(lambda: not cache.is_broken)
            yield cache


async def fill(stub: Stub, units: int = 10) -> None:
    """Makes the SKUs known and receives units of each, at one location."""
    skus = [catalogue_pb2.Sku(sku=sku, name=sku.title()) for sku in SKUS]
    # Ready: grpc may still be waiting before it connects anew to where a killed process was.
    await stub.BatchUpsertSkus(
        catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=skus), wait_for_ready=True
    )
    location = catalogue_pb2.Location(location="PARIS", name="Paris")
    await stub.BatchUpsertLocations(
        catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=[location])
    )
    lines = [stock_pb2.StockLine(sku=sku, location="PARIS", quantity=units) for sku in SKUS]
    await stub.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=new_id(), lines=lines))


async def reserve(stub: Stub, sku: str, quantity: int, *, ttl_seconds: int = 900) -> int:
    """Holds units; the revision of it."""
    request = reservation_pb2.ReserveStockRequest(
        request_id=new_id(), lines=[reservation_pb2.ReserveLine(sku=sku, location="PARIS", quantity=quantity)]
    )
    request.ttl.FromSeconds(ttl_seconds)
    answer = await stub.ReserveStock(request)
    return answer.revision
