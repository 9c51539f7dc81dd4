"""The log read back: the tail, a point in time, balances as they were.

Every function is one statement, so what it answers is of one moment. Read from the primary: a replica's head lags
behind the revisions that callers already know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.read import read
from meshkit.log.model import EventRow, Head
from meshkit.log.store import HEAD_SQL

EVENT_COLUMNS = """revision, index, kind, key, payload, deltas, balances, principal, client_id, channel,
    reference, request_id, traceparent, occur_time, record_time, hash"""
"""The columns of `log_event` as `event_row` takes them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A run of whole revisions from `after` (excluded) on, and the head when it was read.

    `covers_to` is the last revision that the page accounts for; it is `head.revision` where nothing was left out.
    """

    after: int
    events: list[EventRow]
    head: Head

    @property
    def covers_to(self) -> int:
        """The last revision of the page; `after` where it is empty."""
        return self.events[-1].revision if self.events else self.after

    @property
    def has_gap(self) -> bool:
        """Whether the revision that comes next is not retained any more."""
        if self.events:
            return self.events[0].revision != self.after + 1
        return self.head.revision > self.after


async def read_head(engine: AsyncEngine) -> Head:
    """The log's head.

    Raises:
        Unavailable
    """
    return _head((await read(engine, _HEAD_SQL, {}))[0])


async def read_events(engine: AsyncEngine, after: int, *, events_max: int) -> Page:
    """Revisions after `after`, oldest first, as many as have together at most `events_max` events, but at least one.

    A revision is never split, so a page may have as many events as one revision may have.

    Raises:
        Unavailable
    """
    rows = await read(engine, _EVENTS_SQL, {"after": after, "events_max": events_max})
    events = [event_row(row[_HEAD_COLUMNS:]) for row in rows if row[_HEAD_COLUMNS] is not None]
    return Page(after, events, _head(rows[0]))


async def revision_at(engine: AsyncEngine, record_time: datetime) -> int:
    """The last revision recorded at or before a time; the one before the oldest retained if there is none (0 at first).

    Bisects over the primary key, because `record_time` never falls as the revision rises: some log2(n) index look-ups,
    and no index to keep.

    Raises:
        Unavailable
    """
    rows = await read(engine, _REVISION_AT_SQL, {"record_time": record_time})
    revision: int = rows[0][0]
    return revision


async def balances_as_of(
    engine: AsyncEngine, keys: Sequence[str], revision: int
) -> dict[str, tuple[int, tuple[int, ...]]]:
    """For each key that has changed by `revision`: the revision that changed it last, and its balances after it.

    One index look-up a key, whatever the length of the log.

    Raises:
        Unavailable
    """
    rows = await read(engine, _BALANCES_SQL, {"keys": list(keys), "revision": revision})
    return {key: (changed, tuple(balances)) for key, changed, balances in rows}


def event_row(row: Sequence[Any]) -> EventRow:
    """A row with the columns of `EVENT_COLUMNS`."""
    revision, index, kind, key, payload, deltas, balances, *origin = row
    return EventRow(revision, index, kind, key, payload, tuple(deltas), tuple(balances), *origin)


def _head(row: Sequence[Any]) -> Head:
    log_id, revision, record_time, digest = row[:_HEAD_COLUMNS]
    return Head(log_id, revision, record_time, digest)


_HEAD_COLUMNS = 4
_HEAD_SQL = text(HEAD_SQL)

# `beyond` is the first event past the page, found on the index alone; its revision is left out whole, unless the page
# would be empty then. The head's columns stand in every row, and alone in the one row of an empty page.
_EVENTS_SQL = text(f"""
    WITH head AS ({HEAD_SQL.replace("log_id::text", "log_id::text AS log_id")}),
    first AS (SELECT revision FROM log_event WHERE revision > :after ORDER BY revision, index LIMIT 1),
    beyond AS (
        SELECT revision FROM log_event WHERE revision > :after ORDER BY revision, index OFFSET :events_max LIMIT 1
    )
    SELECT head.log_id, head.revision, head.record_time, head.hash, event.*
    FROM head LEFT JOIN LATERAL (
        SELECT {EVENT_COLUMNS} FROM log_event
        WHERE revision > :after
          AND revision <= greatest(
              coalesce((SELECT revision FROM beyond) - 1, head.revision), (SELECT revision FROM first)
          )
    ) AS event ON true
    ORDER BY event.revision, event.index""")

_REVISION_AT_SQL = text("""
    WITH RECURSIVE bisect (low, high) AS (
        SELECT coalesce((SELECT min(revision) FROM log_event) - 1, log_head.revision), log_head.revision FROM log_head
        UNION ALL
        SELECT CASE WHEN earlier THEN middle ELSE low END, CASE WHEN earlier THEN high ELSE middle - 1 END
        FROM bisect, LATERAL (SELECT (low + high + 1) / 2 AS middle) AS half, LATERAL (
            SELECT record_time <= CAST(:record_time AS timestamptz) AS earlier
            FROM log_event WHERE revision = middle AND index = 0
        ) AS probe
        WHERE low < high
    )
    SELECT low FROM bisect WHERE low = high""")

_BALANCES_SQL = text("""
    SELECT wanted.key, event.revision, event.balances
    FROM (SELECT DISTINCT unnest(CAST(:keys AS text[])) AS key) AS wanted, LATERAL (
        SELECT revision, balances FROM log_event
        WHERE log_event.key = wanted.key AND revision <= :revision
        ORDER BY revision DESC, index DESC LIMIT 1
    ) AS event""")
