"""Schemas: up from empty, up twice, up from two machines at once; who is refused and who is tolerated."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.util import CommandError

from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.errors import Unavailable
from meshkit.db.engine import make_engine
from meshkit.db.migrations import Migrated, migrate
from meshkit.db.schema import SchemaTooOld, require_current

SECOND = '''"""A later migration."""

from alembic import op

revision = "9999"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("CREATE TABLE later (n integer)")
    op.execute("{statement}")
'''


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        return {name for (name,) in rows}


def newer_program(folder: Path, statement: str = "SELECT 1") -> Path:
    """The service's migrations and one more."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    last = max((folder / "versions").glob("[0-9]*.py")).name.partition("_")[0]
    (folder / "versions" / "9999_later.py").write_text(SECOND.format(before=last, statement=statement))
    return folder


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """An empty database."""
    return make_database("inventory")


def test_an_empty_database_is_brought_up_whole(url: str) -> None:
    done = migrate(url, MIGRATIONS)
    assert done.before is None
    assert tables(url) >= {
        "alembic_version", "log_head", "log_event", "log_request", "log_saga_fence",
        "sku", "location", "stock_level", "sellable", "reservation", "reservation_line",
    }  # fmt: skip


def test_a_second_time_does_nothing(url: str) -> None:
    first = migrate(url, MIGRATIONS)
    before = tables(url)
    assert migrate(url, MIGRATIONS) == Migrated(before=first.after, after=first.after)
    assert tables(url) == before


def test_two_machines_at_once_do_it_once(url: str) -> None:
    barrier = threading.Barrier(4)
    done: list[Migrated] = []

    def run() -> None:
        barrier.wait()
        done.append(migrate(url, MIGRATIONS))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.before for each in done].count(None) == 1
    assert [each.before for each in done].count(done[0].after) == 3


def test_a_migration_that_fails_leaves_nothing(url: str, tmp_path: Path) -> None:
    done = migrate(url, MIGRATIONS)
    with pytest.raises(Exception, match="division by zero"):
        migrate(url, newer_program(tmp_path / "newer", "SELECT 1 / 0"))
    assert "later" not in tables(url)
    assert migrate(url, MIGRATIONS).before == done.after


def test_an_older_program_does_not_migrate_a_newer_schema(url: str, tmp_path: Path) -> None:
    migrate(url, newer_program(tmp_path / "newer"))
    with pytest.raises(CommandError):
        migrate(url, MIGRATIONS)
    assert "later" in tables(url)


async def test_a_service_refuses_an_empty_database(url: str) -> None:
    engine = make_engine(url)
    with pytest.raises(SchemaTooOld, match=r"at nothing and must be at .* run `migrate` first"):
        await require_current(engine, MIGRATIONS)
    await engine.dispose()


async def test_a_service_refuses_an_older_schema_and_says_what_to_do(url: str, tmp_path: Path) -> None:
    done = migrate(url, MIGRATIONS)
    engine = make_engine(url)
    with pytest.raises(SchemaTooOld, match=f"at {done.after} and must be at 9999: run `migrate` first"):
        await require_current(engine, newer_program(tmp_path / "newer"))
    await engine.dispose()


async def test_a_service_tolerates_its_own_and_a_newer_schema(url: str, tmp_path: Path) -> None:
    migrate(url, MIGRATIONS)
    engine = make_engine(url)
    await require_current(engine, MIGRATIONS)
    migrate(url, newer_program(tmp_path / "newer"))
    await require_current(engine, MIGRATIONS)
    await engine.dispose()


async def test_a_database_that_does_not_answer_is_unavailable_not_too_old(url: str) -> None:
    engine = make_engine(url.replace("?host=", "?host=%2Fnowhere"))
    with pytest.raises(Unavailable) as refused:
        await require_current(engine, MIGRATIONS)
    assert not isinstance(refused.value, SchemaTooOld)
    await engine.dispose()
