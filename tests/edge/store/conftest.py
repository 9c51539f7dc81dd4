"""An empty, migrated edge database for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.store.migrations import MIGRATIONS
from meshkit.db.engine import make_engine
from meshkit.db.migrations import migrate
from tests.edge.store.rows import EdgeDatabase, edge_database
from tests.embedded import Embedded


@pytest.fixture(scope="session")
def checkouts_url(embedded: Embedded) -> str:
    """A migrated database."""
    url = embedded.make_database("edge")
    migrate(url, MIGRATIONS)
    return url


@pytest.fixture
def database(checkouts_url: str) -> Iterator[EdgeDatabase]:
    """The same database for all tests, emptied before each."""
    with edge_database(checkouts_url) as database:
        yield database


@pytest.fixture
async def engine(database: EdgeDatabase) -> AsyncIterator[AsyncEngine]:
    """One process's pool, with a connection for each of twenty at once."""
    engine = make_engine(database.url, connections_max=20, wait_seconds_max=10)
    yield engine
    await engine.dispose()


@pytest.fixture
async def other_engine(database: EdgeDatabase) -> AsyncIterator[AsyncEngine]:
    """Another process's pool."""
    engine = make_engine(database.url, connections_max=20, wait_seconds_max=10)
    yield engine
    await engine.dispose()
