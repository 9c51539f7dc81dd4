"""Executes what time alone has given (a hold that lapses) where no command happens to touch it, within a second.

Every process sweeps; what two of them find is done once, because its state says so under the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic

import structlog

from meshkit.core.errors import MeshError
from meshkit.log.model import B, Command
from meshkit.log.writer import LogWriter

_log = structlog.get_logger(__name__)

SWEEP_COMMANDS_MAX: Final = 500
SWEEP_SECONDS: Final = 0.25


class Sweeper(Generic[B]):
    """Looks for what has lapsed four times a second."""

    def __init__(
        self, *, find: Callable[[int], Awaitable[Sequence[Command[B]]]], writer: LogWriter[B, Any, Any, Any]
    ) -> None:
        """`find` answers at most so many commands that time has given, oldest first."""
        self._find = find
        self._writer = writer

    async def run(self) -> None:
        """Sweeps until cancelled. What cannot be done now is done the next time."""
        while True:
            try:
                swept = await self.sweep()
            except MeshError as fault:
                _log.warning("sweeper.postponed", reason=fault.reason)
                swept = 0
            if swept < SWEEP_COMMANDS_MAX:
                await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """One round; answers how many commands could be executed.

        Raises:
            Unavailable, TooManyRequests
        """
        lapsed = await self._find(SWEEP_COMMANDS_MAX)
        if not lapsed:
            return 0
        answers = await self._writer.submit_all(lapsed)
        return sum(not isinstance(answer, MeshError) for answer in answers)
