"""The service on an emptied database, and a client with every scope."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from meshkit.rpc.tokens import Keys, ensure_keys
from tests.profile.people import PeopleDatabase
from tests.profile.rpc.calls import Service, Stub, serving


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Of an issuer of the tests' own."""
    return ensure_keys(tmp_path_factory.mktemp("profile"))


@pytest.fixture
async def service(database: PeopleDatabase, keys: Keys) -> AsyncIterator[Service]:
    """The service."""
    async with serving(database.url, keys) as running:
        yield running


@pytest.fixture
async def stub(service: Service) -> AsyncIterator[Stub]:
    """A client with every scope."""
    async with service.client() as stub:
        yield stub
