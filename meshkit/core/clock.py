"""What time it is, as a dependency that a test can move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

CLOCK_SKEW_MAX: Final = timedelta(seconds=5)
"""How far ahead of ours the clock of a caller may be, where it names a time. 20 ms between two machines must not make a
command fail that is repeated until it is done. 1 to 60 s make sense."""


class Clock(Protocol):
    """Tells the time as aware UTC."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime) -> None:
        """Starts at `start`, which must be aware."""
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The time it was last moved to."""
        return self._now

    def advance(self, delta: timedelta) -> None:
        """Moves the time on, or back."""
        self._now += delta
