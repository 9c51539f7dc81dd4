"""Which log this is, known once its database answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.read import read
from meshkit.db.schema import SchemaTooOld, require_current

log = structlog.get_logger(__name__)

WAIT_SECONDS = 0.5
_SQL = text("SELECT log_id::text, fingerprint_key FROM log_head")


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """`log_id` tells this log from every other deployment's; `fingerprint_key` hides what its fingerprints are of."""

    log_id: str
    fingerprint_key: bytes


async def wait_for_log(engine: AsyncEngine, migrations: Path) -> LogIdentity:
    """The identity, as soon as the database answers; services may be started in any order.

    Raises:
        SchemaTooOld: the database answers and must be migrated first.
    """
    while True:
        try:
            await require_current(engine, migrations)
            row = (await read(engine, _SQL, {}))[0]
        except SchemaTooOld:
            raise
        except Unavailable as fault:
            log.warning("waiting for the database", reason=fault.reason)
            await asyncio.sleep(WAIT_SECONDS)
        else:
            return LogIdentity(row[0], row[1])
