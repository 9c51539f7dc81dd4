"""Bringing a service's schema up to date.

Migrations are Alembic scripts in the service's `store/migrations/versions`, numbered 0001, 0002, … in one line. They
run as a step of their own (`python -m <service> migrate`), never when a service starts to serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

ADVISORY_LOCK = 7_203_118_001
"""Two migrations of one database wait for each other. The number is arbitrary and ours."""
LOCK_SECONDS_MAX = 30
"""How long a migration waits for a table lock before it gives up instead of stalling every query behind it."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which version to which; equal if there was nothing to do. None is an empty database."""

    before: str | None
    after: str | None


def _scripts(folder: Path) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)


def migrate(url: str, folder: Path) -> Migrated:
    """Runs every migration that the database at `url` lacks, all in one transaction, and answers what it did.

    Safe to run twice and from several machines at once: an advisory lock lets one go first.

    Raises:
        alembic.util.CommandError: the database is newer than this program.
    """
    config, scripts = _scripts(folder)
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'")
            before: list[str | None] = []

            def steps(current: tuple[str, ...], _: object) -> object:
                before.append(current[0] if current else None)
                return scripts._upgrade_revs("head", current or None)  # type: ignore[arg-type]  # noqa: SLF001 — what alembic's own `upgrade` command calls; there is no public name

            with EnvironmentContext(config, scripts, fn=steps) as environment:
                environment.configure(connection=connection, transactional_ddl=True)
                environment.run_migrations()
            return Migrated(before=before[0], after=scripts.get_current_head())
    finally:
        engine.dispose()
