"""What a log forgets: answers to old requests, fences of old sagas. Events are kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.errors import MeshError
from meshkit.db.transact import transact

log = structlog.get_logger(__name__)

KEEP = timedelta(days=7)
"""How long a repeat is recognised and a stale owner refused."""
ROWS_MAX = 5_000
"""Rows deleted in one transaction, so that the batches of the log never wait for it."""
PAUSE_SECONDS = 0.2
EVERY_SECONDS = 600.0

_DELETE_SQL = (
    text("""
        DELETE FROM log_request WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM log_request WHERE record_time < :before LIMIT :rows))"""),
    text("""
        DELETE FROM log_saga_fence WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM log_saga_fence WHERE record_time < :before LIMIT :rows))"""),
)


class Retention:
    """Deletes what is older than `KEEP`, a few rows at a time. Not a command: nothing here is a projection."""

    def __init__(self, *, engine: AsyncEngine, clock: Clock, keep: timedelta = KEEP) -> None:
        """`keep` must be at least as long as any client goes on repeating a request."""
        self._engine = engine
        self._clock = clock
        self._keep = keep

    async def run(self) -> None:
        """Deletes until cancelled."""
        while True:
            try:
                deleted = await self.delete_some()
            except MeshError as fault:
                log.warning("retention.postponed", reason=fault.reason)
                deleted = 0
            await asyncio.sleep(PAUSE_SECONDS if deleted == ROWS_MAX else EVERY_SECONDS)

    async def delete_some(self) -> int:
        """Deletes at most `ROWS_MAX` rows of each table; answers the larger number.

        Raises:
            Unavailable
        """

        async def delete(connection: AsyncConnection) -> int:
            parameters = {"before": self._clock.now() - self._keep, "rows": ROWS_MAX}
            return max([(await connection.execute(sql, parameters)).rowcount for sql in _DELETE_SQL])

        return await transact(self._engine, delete)
