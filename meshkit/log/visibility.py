"""Read your writes where a service reads its projections from the primary and streams nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.errors import RevisionNotYetVisible
from meshkit.log.reader import read_head

POLL_SECONDS: Final = 0.05
VISIBLE_SECONDS_MAX: Final = 10.0
"""Longest wait of a call without a deadline."""

VISIBLE_MARGIN: Final = 0.1
"""The part of a call's time that is kept for the way back: a refusal that comes late is a bare DEADLINE_EXCEEDED."""

VISIBLE_MARGIN_SECONDS_MAX: Final = 0.5


def give_up_time(deadline: float | None, now: float) -> float:
    """When a read that waits for a revision says that it is not visible, in the loop's time like both arguments."""
    left = VISIBLE_SECONDS_MAX if deadline is None else deadline - now
    return now + left - min(left * VISIBLE_MARGIN, VISIBLE_MARGIN_SECONDS_MAX)


class LogVisibility:
    """Knows by the log's head up to which revision this process can read."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Reads through `engine`, which must not be a replica's."""
        self._engine = engine
        self._seen = 0

    async def wait_for(self, revision: int, deadline: float | None) -> None:
        """Returns once the revision is visible. `deadline` is in the loop's time.

        Raises:
            RevisionNotYetVisible: shortly before the deadline.
            Unavailable: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        end_time = give_up_time(deadline, loop.time())
        while revision > self._seen:
            self._seen = (await read_head(self._engine)).revision
            if revision <= self._seen:
                return
            if loop.time() + POLL_SECONDS > end_time:
                metadata = {"revision": str(revision), "visible": str(self._seen)}
                message = f"revision {revision} is not visible here yet; {self._seen} is"
                raise RevisionNotYetVisible(message, metadata=metadata)
            await asyncio.sleep(POLL_SECONDS)
