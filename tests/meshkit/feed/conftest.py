from __future__ import annotations

import psycopg
import pytest

from tests.embedded import Embedded
from tests.meshkit.feed.tally import create_tables


@pytest.fixture(scope="session")
def tally_database(embedded: Embedded) -> str:
    url = embedded.make_database("feed")
    create_tables(url)
    return url


@pytest.fixture
def tally_url(tally_database: str) -> str:
    """The tally service's database with an empty log of its own id."""
    with psycopg.connect(tally_database) as connection:
        connection.execute("TRUNCATE log_head, log_event, log_request, log_saga_fence, tally")
        connection.execute("INSERT INTO log_head DEFAULT VALUES")
    return tally_database
