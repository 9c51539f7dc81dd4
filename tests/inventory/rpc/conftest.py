"""One inventory process on a database of its own for all tests of RPCs; SKUs and locations of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beautymesh.inventory.v1 import catalogue_pb2, stock_pb2
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from tests.embedded import Embedded
from tests.inventory.clients import Stub, client
from tests.inventory.rpc.calls import Shelf
from tests.processes import Process, Stack, process


@pytest.fixture(scope="session")
def stack(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A migrated database, the cache, and keys."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    folder: Path = tmp_path_factory.mktemp("inventory")
    return Stack(url, embedded.redis_url, ensure_keys(folder), folder)


@pytest.fixture(scope="session")
def service(stack: Stack) -> Iterator[Process]:
    """The process."""
    with process(stack) as running:
        yield running


@pytest.fixture
async def stub(stack: Stack, service: Process) -> AsyncIterator[Stub]:
    """A client with every scope but staff's."""
    async with client(stack, service.target) as stub:
        yield stub


@pytest.fixture
async def shelf(stub: Stub) -> Shelf:
    """Ten units."""
    shelf = Shelf(f"S-{new_id()}", f"L-{new_id()}")
    await stub.BatchUpsertSkus(
        catalogue_pb2.BatchUpsertSkusRequest(
            request_id=new_id(), skus=[catalogue_pb2.Sku(sku=shelf.sku, name="Lipstick")]
        )
    )
    await stub.BatchUpsertLocations(
        catalogue_pb2.BatchUpsertLocationsRequest(
            request_id=new_id(), locations=[catalogue_pb2.Location(location=shelf.location, name="Berlin")]
        )
    )
    line = stock_pb2.StockLine(sku=shelf.sku, location=shelf.location, quantity=10)
    await stub.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=new_id(), lines=[line]))
    return shelf
