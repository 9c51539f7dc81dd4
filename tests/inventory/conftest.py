"""An empty, migrated inventory database for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.clock import ManualClock
from meshkit.db.engine import make_engine
from meshkit.db.migrations import migrate
from tests.embedded import Embedded
from tests.inventory.stock import T0, Stock, StockDatabase
from tests.meshkit.log.tally import running


@pytest.fixture(autouse=True, scope="package")
def plain_log() -> Iterator[None]:
    """Tracebacks in one line, as in a service."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def stock_url(embedded: Embedded) -> str:
    """A migrated database."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    return url


@pytest.fixture
def database(stock_url: str) -> StockDatabase:
    """The same database for all tests, emptied before each."""
    database = StockDatabase(stock_url)
    database.empty()
    return database


@pytest.fixture
async def engine(database: StockDatabase) -> AsyncIterator[AsyncEngine]:
    """The pool that queries use."""
    engine = make_engine(database.url)
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> ManualClock:
    """Stands at T0."""
    return ManualClock(T0)


@pytest.fixture
async def stock(database: StockDatabase, clock: ManualClock) -> AsyncIterator[Stock]:
    """A running writer; ten units at each of the four levels."""
    stock = Stock(database.url, clock)
    async with running(stock):
        await stock.fill()
        yield stock
