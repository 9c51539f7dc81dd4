"""The whole mesh, once for all tests of the saga. Each test has goods and offers of its own, and an edge if need be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import pytest

from edge_gateway.store.migrations import MIGRATIONS
from meshkit.db.migrations import migrate
from tests.edge.sagas.mesh import EdgeStub, Mesh, mesh
from tests.edge.sagas.shop import Shop, shopping
from tests.edge.store.rows import EdgeDatabase, edge_database
from tests.embedded import Embedded
from tests.processes import Process

Running: TypeAlias = tuple[Mesh, dict[str, Process]]


@pytest.fixture(scope="session")
def running_mesh(
    embedded: Embedded, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mesh, dict[str, Process]]]:
    """Three services and an edge."""
    with mesh(embedded, tmp_path_factory.mktemp("mesh")) as running:
        yield running


@pytest.fixture
def whole_mesh(running_mesh: Running) -> Mesh:
    """How to reach them."""
    return running_mesh[0]


@pytest.fixture
async def shop(whole_mesh: Mesh) -> AsyncIterator[Shop]:
    """The services' own interfaces."""
    async with shopping(whole_mesh) as stubs:
        yield stubs


@pytest.fixture
async def edge(running_mesh: Running) -> AsyncIterator[EdgeStub]:
    """The shared edge process, as the shop calls it."""
    served, processes = running_mesh
    async with served.edge_client(processes["edge"].target) as stub:
        yield stub


@pytest.fixture(scope="session")
def other_edge_url(embedded: Embedded, edge_template_url: str) -> str:
    """Where edges of tests' own keep their checkouts: nobody else takes them over."""
    return embedded.make_database("edge", template_url=edge_template_url)


@pytest.fixture(scope="session")
def edge_template_url(embedded: Embedded) -> str:
    """A migrated database to copy."""
    url = embedded.make_database("edge")
    migrate(url, MIGRATIONS)
    return url


@pytest.fixture
def own_checkouts(other_edge_url: str) -> Iterator[EdgeDatabase]:
    """The same, empty."""
    with edge_database(other_edge_url) as database:
        yield database
