"""The schema: up from empty, up twice, down again; and what it refuses to hold."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from edge_gateway.store.checkouts import wait_for_fingerprint_key
from edge_gateway.store.migrations import MIGRATIONS
from meshkit.db.engine import make_engine
from meshkit.db.migrations import Migrated, migrate
from meshkit.db.schema import SchemaTooOld


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """An empty database."""
    return make_database("edge")


def schema(url: str) -> set[tuple[str, str]]:
    """Every column of every table."""
    with psycopg.connect(url) as connection:
        sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        return set(connection.execute(sql).fetchall())


def test_an_empty_database_is_brought_up_whole(url: str) -> None:
    assert migrate(url, MIGRATIONS) == Migrated(before=None, after="0001")
    assert {table for table, _ in schema(url)} == {"alembic_version", "edge_key", "checkout", "checkout_request"}


def test_a_second_time_does_nothing(url: str) -> None:
    migrate(url, MIGRATIONS)
    before = schema(url)
    assert migrate(url, MIGRATIONS) == Migrated(before="0001", after="0001")
    assert schema(url) == before


async def test_the_key_of_fingerprints_is_random_long_and_stays(make_database: Callable[..., str]) -> None:
    keys = []
    for _ in range(2):
        url = make_database("edge")
        migrate(url, MIGRATIONS)
        engine = make_engine(url)
        first = await wait_for_fingerprint_key(engine, MIGRATIONS)
        migrate(url, MIGRATIONS)
        assert await wait_for_fingerprint_key(engine, MIGRATIONS) == first
        await engine.dispose()
        keys.append(first)
    assert [len(key) for key in keys] == [32, 32]
    assert keys[0] != keys[1]


async def test_an_empty_database_is_refused_and_not_waited_for(url: str) -> None:
    engine = make_engine(url)
    with pytest.raises(SchemaTooOld, match="run `migrate` first"):
        await wait_for_fingerprint_key(engine, MIGRATIONS)
    await engine.dispose()


ROW = """
    INSERT INTO checkout (checkout_id, client_id, principal, state, work, fence, lease_until, request, plan, profile_id,
                          order_reference, payment_reference, fault, expire_time, create_time, update_time)
    VALUES ('c', 'client', '{}', %s, %s, %s, %s, '', '', '', '', '', '', now(), now(), now())
"""


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (("sold", "", 1, None), "state_is_one_of_the_known"),
        (("open", "", 0, None), "fence_is_positive"),
        (("open", "", 1, "2026-01-01T00:00Z"), "a_checkout_has_a_lease_while_there_is_work"),
        (("opening", "open", 1, None), "a_checkout_has_a_lease_while_there_is_work"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_by_its_name(url: str, values: tuple[object, ...], rule: str) -> None:
    migrate(url, MIGRATIONS)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.CheckViolation, match=rule):
        connection.execute(ROW, values)


def test_there_is_one_key_only(url: str) -> None:
    migrate(url, MIGRATIONS)
    with psycopg.connect(url) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO edge_key DEFAULT VALUES")
        connection.rollback()
        with pytest.raises(psycopg.errors.CheckViolation, match="an_edge_has_one_key"):
            connection.execute("INSERT INTO edge_key (only_row) VALUES (false)")
