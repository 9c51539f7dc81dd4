"""Log rows made by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from meshkit.log.model import EventRow, Head
from meshkit.log.reader import Page
from tests.meshkit.feed.tally import TALLY

T0 = datetime(2026, 3, 1, tzinfo=UTC)
LOG_ID = "0190a000-0000-7000-8000-000000000001"


def event(revision: int, key: str, after: int, *, delta: int = 1, index: int = 0, kind: str = TALLY) -> EventRow:
    """A row; what a stream does not look at is empty."""
    deltas, balances = ((delta,), (after,)) if kind == TALLY else ((), ())
    digest = b"hash" if index == 0 else None
    return EventRow(revision, index, kind, key, b"", deltas, balances, "", "", "", "", "", "", T0, T0, digest)


def head(revision: int) -> Head:
    """The head at a revision."""
    return Head(LOG_ID, revision, T0, b"hash")


def page(after: int, *events: EventRow, head_revision: int | None = None) -> Page:
    """A page that ends at the head, unless that is said to be further on."""
    last = events[-1].revision if events else after
    return Page(after, list(events), head(last if head_revision is None else head_revision))
