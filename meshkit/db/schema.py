"""Telling whether a service's schema is up to date. It does without Alembic, which would make every start slower."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.read import read


class SchemaTooOld(Unavailable):
    """The database lacks migrations that this program needs."""

    reason = "SCHEMA_TOO_OLD"


async def require_current(engine: AsyncEngine, folder: Path) -> None:
    """Refuses a schema older than this program; a newer one is fine: migrations expand before they contract.

    Raises:
        SchemaTooOld: saying what to run.
        Unavailable: the database does not answer.
    """
    versions = _versions(folder)
    exists = (await read(engine, sqlalchemy.text("SELECT to_regclass('alembic_version') IS NOT NULL"), {}))[0][0]
    rows = await read(engine, sqlalchemy.text("SELECT version_num FROM alembic_version"), {}) if exists else []
    found = rows[0][0] if rows else None
    if found is None or found in versions[:-1]:
        raise SchemaTooOld(f"the schema is at {found or 'nothing'} and must be at {versions[-1]}: run `migrate` first")


@cache
def _versions(folder: Path) -> list[str]:
    """The numbers of the migrations, oldest first. Listed once: readiness asks every second."""
    return sorted(script.name.partition("_")[0] for script in (folder / "versions").glob("[0-9]*_*.py"))
