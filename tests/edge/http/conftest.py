"""One whole mesh for all tests that use names of their own; a start takes some seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.edge.http.front import CheckingClient, Front, standing_front
from tests.embedded import Embedded


@pytest.fixture(scope="session")
def front(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Three services and an edge."""
    with standing_front(embedded, tmp_path_factory.mktemp("mesh")) as standing:
        yield standing


@pytest.fixture
async def api(front: Front) -> AsyncIterator[CheckingClient]:
    """A caller with every scope."""
    async with front.client() as client:
        yield client
