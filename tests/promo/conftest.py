"""An empty, migrated promo database for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import ManualClock
from meshkit.db.engine import make_engine
from meshkit.db.migrations import migrate
from promo_svc.store.migrations import MIGRATIONS
from tests.embedded import Embedded
from tests.meshkit.log.tally import running
from tests.promo.shop import T0, PromoDatabase, Shop


@pytest.fixture(autouse=True, scope="package")
def plain_log() -> Iterator[None]:
    """Tracebacks in one line, as in a service."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def promo_url(embedded: Embedded) -> str:
    """A migrated database."""
    url = embedded.make_database("promo")
    migrate(url, MIGRATIONS)
    return url


@pytest.fixture
def database(promo_url: str) -> PromoDatabase:
    """The same database for all tests, emptied before each."""
    database = PromoDatabase(promo_url)
    database.empty()
    return database


@pytest.fixture
async def engine(database: PromoDatabase) -> AsyncIterator[AsyncEngine]:
    """The pool that queries use."""
    engine = make_engine(database.url)
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> ManualClock:
    """Stands at T0."""
    return ManualClock(T0)


@pytest.fixture
async def shop(database: PromoDatabase, clock: ManualClock) -> AsyncIterator[Shop]:
    """A running writer, with prices and promotions."""
    shop = Shop(database.url, clock)
    async with running(shop):
        await shop.fill()
        yield shop
