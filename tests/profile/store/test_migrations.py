"""The schema: up from empty, up twice, and what the command line says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from meshkit.db.engine import make_engine
from meshkit.db.migrations import Migrated, migrate
from meshkit.db.schema import SchemaTooOld, require_current
from profile_svc.store.migrations import MIGRATIONS


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """An empty database."""
    return make_database("profile")


def schema(url: str) -> set[tuple[str, str]]:
    """Every column of every table."""
    with psycopg.connect(url) as connection:
        sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        return set(connection.execute(sql).fetchall())


def test_an_empty_database_is_brought_up_whole(url: str) -> None:
    assert migrate(url, MIGRATIONS) == Migrated(before=None, after="0001")
    assert {table for table, _ in schema(url)} == {
        "alembic_version", "log_head", "log_event", "log_request", "log_saga_fence",
        "profile", "purchase", "purchase_line",
    }  # fmt: skip


def test_a_second_time_does_nothing(url: str) -> None:
    migrate(url, MIGRATIONS)
    before = schema(url)
    assert migrate(url, MIGRATIONS) == Migrated(before="0001", after="0001")
    assert schema(url) == before


def test_the_command_line_says_what_it_did(url: str) -> None:
    def said() -> str:
        environment = {**os.environ, "BEAUTYMESH_PROFILE_DATABASE_URL": url}
        command = [sys.executable, "-m", "profile_svc", "migrate"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    assert said() == "profile: migrated from nothing to 0001\n"
    assert said() == "profile: schema 0001 is up to date\n"


async def test_a_service_refuses_an_empty_database(url: str) -> None:
    engine = make_engine(url)
    with pytest.raises(SchemaTooOld, match="run `migrate` first"):
        await require_current(engine, MIGRATIONS)
    await engine.dispose()
