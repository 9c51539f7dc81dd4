"""Expires lapsed holds that no command happens to touch, so that the event is in the stream within a second.

Every process sweeps; a hold that two of them find is expired once, because its state says so under the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.decide import Body
from inventory_svc.store.log import InventoryWriter
from inventory_svc.store.queries import read_lapsed_holds
from meshkit.core.clock import Clock
from meshkit.core.errors import MeshError
from meshkit.log.model import Command

log = structlog.get_logger(__name__)

SWEEP_HOLDS_MAX = 500
SWEEP_SECONDS = 0.25


class Sweeper:
    """Looks for lapsed holds four times a second."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        writer: InventoryWriter,
        clock: Clock,
        expiry: Callable[[str, datetime], Command[Body]],
    ) -> None:
        """`expiry` makes the command for a reservation and its expire time."""
        self._engine = engine
        self._writer = writer
        self._clock = clock
        self._expiry = expiry

    async def run(self) -> None:
        """Sweeps until cancelled. What cannot be done now is done the next time."""
        while True:
            try:
                swept = await self.sweep()
            except MeshError as fault:
                log.warning("sweeper.postponed", reason=fault.reason)
                swept = 0
            if swept < SWEEP_HOLDS_MAX:
                await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Expires at most `SWEEP_HOLDS_MAX` lapsed holds, oldest first; answers how many it could.

        Raises:
            Unavailable, TooManyRequests
        """
        lapsed = await read_lapsed_holds(self._engine, now=self._clock.now(), rows_max=SWEEP_HOLDS_MAX)
        if not lapsed:
            return 0
        answers = await self._writer.submit_all([self._expiry(reservation_id, at) for reservation_id, at in lapsed])
        return sum(not isinstance(answer, MeshError) for answer in answers)
