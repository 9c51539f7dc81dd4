"""Deletes checkouts that were settled long ago, with the requests that moved them."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.store import checkouts as store
from meshkit.core.errors import MeshError

_log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 60.0


class Retention:
    """Looks once a minute; deletes in small statements, so that nobody waits for it."""

    def __init__(self, *, engine: AsyncEngine, keep_days: int) -> None:
        self._engine = engine
        self._keep_days = keep_days

    async def run(self) -> None:
        """Deletes until cancelled."""
        while True:
            try:
                deleted = await store.delete_old(self._engine, keep_days=self._keep_days)
            except MeshError as fault:
                _log.warning("retention postponed", reason=fault.reason)
                deleted = 0
            if deleted < store.SWEEP_MAX:
                await asyncio.sleep(ROUND_SECONDS)
