"""Finishes or undoes the checkouts whose owner is gone, and expires those that have lapsed.

Every process looks once a second; a row goes to one of them (`SKIP LOCKED`), and its fence rises with every owner. With
a lease of 3 s an orphan is taken up within 4 s, whichever process is left.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.domain.checkout import Checkout
from edge_gateway.sagas.metrics import UNFINISHED
from edge_gateway.sagas.runner import Runner
from edge_gateway.store import checkouts as store
from meshkit.core.errors import MeshError
from meshkit.telemetry.metrics import Metrics

ORPHANS_MAX: Final = 50
"""Checkouts that one process works on at once because their owners are gone."""

_log = structlog.get_logger(__name__)


class Takeover:
    """Looks for work that nobody does."""

    def __init__(
        self, *, engine: AsyncEngine, runner: Runner, lease_seconds: float, scan_seconds: float, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._lease_seconds = lease_seconds
        self._scan_seconds = scan_seconds
        self._unfinished = metrics.gauge(UNFINISHED)
        self._working: set[asyncio.Task[None]] = set()
        self._may_be_more = False

    async def run(self) -> None:
        """Scans until cancelled. What cannot be done now is done the next time."""
        while True:
            try:
                await self.scan()
            except MeshError as fault:
                _log.warning("takeover postponed", reason=fault.reason)
            await self._pause()

    async def scan(self) -> int:
        """One round; answers how many checkouts this process has begun to work on. It does not wait for them.

        Raises:
            Unavailable: the database does not answer.
        """
        taken = await self._take()
        while await store.expire_lapsed(self._engine) == store.SWEEP_MAX:
            pass
        self._unfinished.set(await store.count_unfinished(self._engine))
        return taken

    async def _take(self) -> int:
        room = ORPHANS_MAX - len(self._working)
        orphans = await store.take_over(self._engine, lease_seconds=self._lease_seconds, rows_max=room) if room else []
        for orphan in orphans:
            task = asyncio.create_task(self._work(orphan), name=f"takeover of {orphan.checkout_id}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        self._may_be_more = len(orphans) == room
        return len(orphans)

    async def _pause(self) -> None:
        """Until the next round is due. Where orphans are more than there is room for, one that is done makes way."""
        loop = asyncio.get_running_loop()
        end_time = loop.time() + self._scan_seconds
        while self._may_be_more and loop.time() < end_time:
            if len(self._working) == ORPHANS_MAX:
                left_seconds = end_time - loop.time()
                await asyncio.wait(self._working, timeout=left_seconds, return_when=asyncio.FIRST_COMPLETED)
            try:
                await self._take()
            except MeshError as fault:
                _log.warning("takeover postponed", reason=fault.reason)
                break
        await asyncio.sleep(max(0.0, end_time - loop.time()))

    async def _work(self, orphan: Checkout) -> None:
        try:
            await self._runner.run(orphan)
            _log.info("checkout taken over", checkout_id=orphan.checkout_id, work=orphan.work.value)
        except Exception as fault:  # noqa: BLE001 — a worker's border: the lease ends, and the next owner tries again
            _log.error("takeover failed", checkout_id=orphan.checkout_id, exc_info=fault)
