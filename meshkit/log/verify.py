"""Is the log whole: contiguous, in order of time, chained by hash, and are its balances the sums of its deltas?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from meshkit.log.batch import chain
from meshkit.log.model import EventRow


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that does not hold: where, what was expected, what was found."""

    rule: str
    subject: str
    expected: str
    actual: str


@dataclass(slots=True)
class ChainCheck:
    """Takes the log's events in order, whole revisions at a time, and answers what is wrong (L1, L2, L3, L5).

    The log is meant to begin at revision 1. With `truncated`, old revisions may have been deleted: the first ones seen
    are believed then, with their hash, their time and the starting balances of their keys. Keeps the last balances of
    every key: about 200 bytes a key.
    """

    truncated: bool = False
    revision: int | None = None
    hash: bytes | None = None
    record_time: datetime | None = None
    balances: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def take(self, events: Sequence[EventRow]) -> list[Problem]:
        """What is wrong with these events."""
        problems: list[Problem] = []
        for revision, group in groupby(events, key=attrgetter("revision")):
            problems.extend(self._take_revision(revision, list(group)))
        return problems

    def _take_revision(self, revision: int, events: list[EventRow]) -> list[Problem]:
        problems: list[Problem] = []
        first = events[0]
        subject = f"revision {revision}"
        if self.revision is None and not self.truncated:
            self.revision, self.hash = 0, chain(b"", [])
        if self.revision is not None and revision != self.revision + 1:
            problems.append(Problem("revisions are contiguous", subject, str(self.revision + 1), str(revision)))
        indexes = [event.index for event in events]
        if indexes != list(range(len(events))):
            problems.append(Problem("indexes count from zero", subject, f"0 to {len(events) - 1}", str(indexes)))
        if self.record_time is not None and first.record_time < self.record_time:
            rule = "record time never falls"
            problems.append(Problem(rule, subject, f"{self.record_time} or later", str(first.record_time)))
        if self.hash is not None:
            expected = chain(self.hash, [event.payload for event in events])
            if first.hash != expected:
                actual = first.hash.hex() if first.hash else "none"
                problems.append(Problem("hashes chain", subject, expected.hex(), actual))
        for event in events:
            problems.extend(self._take_event(event))
        self.revision, self.hash, self.record_time = revision, first.hash, first.record_time
        return problems

    def _take_event(self, event: EventRow) -> list[Problem]:
        if not event.balances:
            return []
        before = self.balances.get(event.key, None if self.truncated else (0,) * len(event.deltas))
        self.balances[event.key] = event.balances
        if before is None:
            return []
        expected = tuple(balance + delta for balance, delta in zip(before, event.deltas, strict=True))
        if expected == event.balances:
            return []
        subject = f"revision {event.revision} index {event.index} key {event.key!r}"
        return [Problem("balance is the balance before plus the delta", subject, str(expected), str(event.balances))]
