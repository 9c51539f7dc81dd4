"""What callers read: each from one statement, so that revision and rows belong together.

Holds that have lapsed and that no batch has expired yet are given back here, so that expiry is exact to the instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.reservations import Reservation
from inventory_svc.domain.stock import Counters, LevelKey
from inventory_svc.store.keys import AFTER_SEPARATOR, LEVEL, SELLABLE, SEPARATOR, SKU, noun_key
from inventory_svc.store.working_set import RESERVATION_COLUMNS, reservation_of
from meshkit.db.read import read
from meshkit.log.model import EventRow
from meshkit.log.reader import EVENT_COLUMNS, event_row


class LevelRow(NamedTuple):
    """A level and the revision that last changed it."""

    key: LevelKey
    counters: Counters
    revision: int


@dataclass(frozen=True, slots=True)
class Availability:
    """What a channel may sell of a SKU, the revision that last changed that, and the levels behind it if asked for."""

    sku: str
    channel: str
    sellable: int
    revision: int
    levels: tuple[LevelRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Availabilities:
    """The known ones in the order asked for, the unknown SKUs, and the revision at which all were read."""

    known: tuple[Availability, ...]
    unknown: tuple[str, ...]
    revision: int


_LAPSED = """
    lapsed AS (
        SELECT l.sku, l.location, l.lot, sum(l.quantity)::bigint AS units
        FROM (SELECT DISTINCT sku FROM wanted) AS skus JOIN reservation_line l USING (sku), log_head
        WHERE l.held_until <= greatest(CAST(:now AS timestamptz), log_head.record_time)
        GROUP BY l.sku, l.location, l.lot
    )"""
"""Units of lapsed holds that are still counted as reserved. Time is what the log's writer would take it to be."""

_AVAILABILITY_SQL = text(f"""
    WITH wanted AS (
        SELECT sku, position FROM unnest(CAST(:skus AS text[])) WITH ORDINALITY AS asked (sku, position)
    ), {_LAPSED}, given_back AS (
        SELECT sku, sum(greatest(0, level.available + lapsed.units) - greatest(0, level.available))::bigint AS units
        FROM lapsed JOIN (
            SELECT sku, location, lot, on_hand - unavailable - reserved - allocated AS available FROM stock_level
        ) AS level USING (sku, location, lot)
        GROUP BY sku
    )
    SELECT log_head.revision, wanted.sku, known.sku IS NOT NULL,
           coalesce(sellable.units, 0) + coalesce(given_back.units, 0), coalesce(sellable.revision, 0)
    FROM log_head, wanted
         LEFT JOIN sku AS known ON known.sku = wanted.sku
         LEFT JOIN sellable ON sellable.sku = wanted.sku AND sellable.channel = :channel
         LEFT JOIN given_back ON given_back.sku = wanted.sku
    ORDER BY position""")


async def read_availabilities(
    engine: AsyncEngine, skus: Sequence[str], *, channel: str, now: datetime
) -> Availabilities:
    """What the channel may sell of each SKU at one revision."""
    parameters = {"skus": list(skus), "channel": channel, "now": now}
    rows = await read(engine, _AVAILABILITY_SQL, parameters)
    return Availabilities(
        known=tuple(Availability(sku, channel, units, changed) for _, sku, known, units, changed in rows if known),
        unknown=tuple(sku for _, sku, known, _, _ in rows if not known),
        revision=rows[0][0],
    )


_LEVEL_COLUMNS = """
    level.sku, level.location, level.lot, level.on_hand, level.unavailable,
    level.reserved - coalesce(lapsed.units, 0), level.allocated, level.revision"""

_LEVELS_OF_SKUS_SQL = text(f"""
    WITH wanted AS (SELECT DISTINCT sku FROM unnest(CAST(:skus AS text[])) AS asked (sku)), {_LAPSED}
    SELECT {_LEVEL_COLUMNS}
    FROM wanted JOIN stock_level AS level USING (sku) LEFT JOIN lapsed USING (sku, location, lot)
    ORDER BY level.sku, level.location, level.lot""")


async def read_levels_of_skus(engine: AsyncEngine, skus: Sequence[str], *, now: datetime) -> dict[str, list[LevelRow]]:
    """All levels of each SKU, by SKU."""
    rows = await read(engine, _LEVELS_OF_SKUS_SQL, {"skus": list(skus), "now": now})
    levels: dict[str, list[LevelRow]] = {}
    for row in rows:
        levels.setdefault(row[0], []).append(_level_row(row))
    return levels


_LEVEL_PAGE_SQL = text(f"""
    WITH page AS (
        SELECT * FROM stock_level
        WHERE (sku, location, lot) > (:sku, :location, :lot)
          AND (cardinality(CAST(:skus AS text[])) = 0 OR sku = ANY(CAST(:skus AS text[])))
          AND (cardinality(CAST(:locations AS text[])) = 0 OR location = ANY(CAST(:locations AS text[])))
        ORDER BY sku, location, lot LIMIT :rows
    ), wanted AS (SELECT sku FROM page), {_LAPSED}
    SELECT head.revision, {_LEVEL_COLUMNS}
    FROM (SELECT revision FROM log_head) AS head
         LEFT JOIN page AS level ON true
         LEFT JOIN lapsed USING (sku, location, lot)
    ORDER BY level.sku, level.location, level.lot""")


async def read_level_page(
    engine: AsyncEngine, *, skus: Sequence[str], locations: Sequence[str], after: LevelKey, rows_max: int, now: datetime
) -> tuple[list[LevelRow], int]:
    """At most `rows_max` levels after a key in order of key, and the revision at which they were read.

    Empty `skus` or `locations` mean all.
    """
    parameters = {
        "skus": list(skus),
        "locations": list(locations),
        "sku": after.sku,
        "location": after.location,
        "lot": after.lot,
        "rows": rows_max,
        "now": now,
    }
    rows = await read(engine, _LEVEL_PAGE_SQL, parameters)
    return [_level_row(row[1:]) for row in rows if row[1] is not None], rows[0][0]


_RESERVATION_SQL = text(f"""
    SELECT {RESERVATION_COLUMNS}, head.revision, head.record_time
    FROM (SELECT revision, record_time FROM log_head) AS head
         LEFT JOIN (reservation r JOIN reservation_line l USING (reservation_id)) ON r.reservation_id = :reservation_id
    ORDER BY l.sku, l.location, l.lot""")


@dataclass(frozen=True, slots=True)
class ReservationRead:
    """A reservation, if there is one, and the log's revision and time when it was read."""

    reservation: Reservation | None
    revision: int
    record_time: datetime


async def read_reservation(engine: AsyncEngine, reservation_id: str) -> ReservationRead:
    """The reservation as it is stored; whether it has lapsed is the caller's to see."""
    rows = await read(engine, _RESERVATION_SQL, {"reservation_id": reservation_id})
    found = reservation_of([row[:-2] for row in rows]) if rows[0][0] is not None else None
    return ReservationRead(found, rows[0][-2], rows[0][-1])


_LAPSED_HOLDS_SQL = text("""
    SELECT reservation_id, expire_time,
           (SELECT count(*) FROM reservation_line AS l WHERE l.reservation_id = r.reservation_id)
    FROM reservation AS r
    WHERE state = 'held' AND expire_time <= :now ORDER BY expire_time LIMIT :rows""")


async def read_lapsed_holds(engine: AsyncEngine, *, now: datetime, rows_max: int) -> list[tuple[str, datetime, int]]:
    """Holds that have lapsed and wait to be expired, oldest first: id, expiry, and how many lines each has."""
    rows = await read(engine, _LAPSED_HOLDS_SQL, {"now": now, "rows": rows_max})
    return [(row[0], row[1], row[2]) for row in rows]


def _level_row(row: Sequence[object]) -> LevelRow:
    sku, location, lot, on_hand, unavailable, reserved, allocated, revision = row
    counters = Counters(on_hand, unavailable, reserved, allocated)  # type: ignore[arg-type]  # the columns of the statement
    return LevelRow(LevelKey(sku, location, lot), counters, revision)  # type: ignore[arg-type]  # likewise


_EVENTS_SQL = text(f"""
    SELECT {EVENT_COLUMNS} FROM log_event
    WHERE (revision, index) > (:revision, :index)
      AND (:sku = '' OR key >= :level_from AND key < :level_to OR key >= :sellable_from AND key < :sellable_to
           OR key = :sku_key)
    ORDER BY revision, index LIMIT :rows""")


async def list_events(
    engine: AsyncEngine, *, after: tuple[int, int], sku: str, location: str, rows_max: int
) -> list[EventRow]:
    """At most `rows_max` events after (revision, index), oldest first; of one SKU, or of its levels at a location."""
    level_from = f"{LEVEL}{SEPARATOR}{sku}{SEPARATOR}" + (f"{location}{SEPARATOR}" if location else "")
    sellable_from = f"{SELLABLE}{SEPARATOR}{sku}{SEPARATOR}"
    parameters = {
        "revision": after[0],
        "index": after[1],
        "sku": sku,
        "level_from": level_from,
        "level_to": level_from[:-1] + AFTER_SEPARATOR,
        "sellable_from": sellable_from if not location else "",
        "sellable_to": sellable_from[:-1] + AFTER_SEPARATOR if not location else "",
        "sku_key": noun_key(SKU, sku) if not location else "",
        "rows": rows_max,
    }
    return [event_row(row) for row in await read(engine, _EVENTS_SQL, parameters)]
