"""Lists of nouns: SKUs, locations, reservations, each page one statement with the revision at which it was read.

A statement has only the conditions that are asked for, so that the planner sees which index serves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, Generic, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.catalogue import Location, LocationKind, Sku
from inventory_svc.domain.reservations import Reservation, State
from inventory_svc.store.working_set import RESERVATION_COLUMNS, reservation_of
from meshkit.db.read import read

LINES_PER_PAGE_MAX: Final = 10_000
"""Lines that a page of reservations reads: a reservation may have 1,000, and a thousand of those fit no message."""

ATTRIBUTE_BYTES_PER_PAGE_MAX: Final = 4 * 1024 * 1024
"""Attributes that a page of SKUs reads: a SKU may have 64 of 4,096 characters, and a thousand of those fit no message.
The first SKU is read whatever it has."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows in order, whether more follow, and the log's revision and time when they were read."""

    rows: Sequence[T]
    more: bool
    revision: int
    record_time: datetime


@dataclass(frozen=True, slots=True)
class SkuFilter:
    """Which SKUs; what is empty means all."""

    skus: Sequence[str] = ()
    product: str = ""
    brand: str = ""
    category: str = ""


async def read_sku_page(engine: AsyncEngine, wanted: SkuFilter, *, after: str, rows_max: int) -> Page[Sku]:
    """At most `rows_max` SKUs behind a code, by code; fewer if their attributes are large."""
    conditions = ["sku > :after"]
    if wanted.skus:
        conditions.append("sku = ANY(CAST(:skus AS text[]))")
    conditions += [f"{name} = :{name}" for name in ("product", "brand", "category") if getattr(wanted, name)]
    sql = f"""
        WITH page AS (
            SELECT sku, name, product, brand, category, attributes FROM sku
            WHERE {" AND ".join(conditions)} ORDER BY sku LIMIT :rows
        ), fitting AS (
            SELECT * FROM (
                SELECT page.*, count(*) OVER () AS found, octet_length(attributes::text) AS bytes,
                       sum(octet_length(attributes::text)) OVER (ORDER BY sku) AS bytes_up_to_here
                FROM page
            ) AS measured
            WHERE bytes_up_to_here <= :bytes OR bytes_up_to_here = bytes
        )
        SELECT head.revision, head.record_time, fitting.*
        FROM (SELECT revision, record_time FROM log_head) AS head LEFT JOIN fitting ON true
        ORDER BY sku"""
    parameters = {
        "after": after,
        "skus": list(wanted.skus),
        "product": wanted.product,
        "brand": wanted.brand,
        "category": wanted.category,
        "rows": rows_max + 1,
        "bytes": ATTRIBUTE_BYTES_PER_PAGE_MAX,
    }
    rows = await read(engine, text(sql), parameters)
    found = [row[2:] for row in rows if row[2] is not None]
    kept = [Sku(row[0], row[1], row[2], row[3], row[4], tuple(sorted(row[5].items()))) for row in found[:rows_max]]
    return Page(kept, more=bool(found) and found[0][6] > len(kept), revision=rows[0][0], record_time=rows[0][1])


async def read_location_page(
    engine: AsyncEngine, *, locations: Sequence[str], kind: LocationKind | None, after: str, rows_max: int
) -> Page[Location]:
    """At most `rows_max` locations behind a code, by code.

    Empty `locations` mean all. There are few, so no index helps the kind.
    """
    conditions = ["location > :after"]
    if locations:
        conditions.append("location = ANY(CAST(:locations AS text[]))")
    if kind is not None:
        conditions.append("kind = :kind")
    sql = f"""
        SELECT head.revision, head.record_time, page.*
        FROM (SELECT revision, record_time FROM log_head) AS head LEFT JOIN LATERAL (
            SELECT location, name, kind FROM location
            WHERE {" AND ".join(conditions)} ORDER BY location LIMIT :rows
        ) AS page ON true
        ORDER BY location"""
    parameters = {
        "after": after,
        "locations": list(locations),
        "kind": kind.value if kind is not None else "",
        "rows": rows_max + 1,
    }
    rows = await read(engine, text(sql), parameters)
    found = [Location(row[2], row[3], LocationKind(row[4])) for row in rows if row[2] is not None]
    return Page(found[:rows_max], more=len(found) > rows_max, revision=rows[0][0], record_time=rows[0][1])


@dataclass(frozen=True, slots=True)
class ReservationFilter:
    """Which reservations; what is empty means all.

    Of `only_locations` a reservation must have all its lines; of `location` one.
    """

    client_id: str = ""
    state: State | None = None
    sku: str = ""
    location: str = ""
    order_reference: str = ""
    only_locations: frozenset[str] = frozenset()


async def read_reservation_page(
    engine: AsyncEngine, wanted: ReservationFilter, *, after: str, rows_max: int, now: datetime
) -> Page[Reservation]:
    """At most `rows_max` reservations behind an id, by id, as they are stored; fewer if they have many lines.

    A hold that has lapsed by `now` counts as expired in the filter, though it is stored as held.
    """
    sql = f"""
        SELECT {RESERVATION_COLUMNS}, head.revision, head.record_time
        FROM (SELECT revision, record_time FROM log_head) AS head LEFT JOIN LATERAL (
            SELECT * FROM reservation
            WHERE {" AND ".join(["reservation_id > :after", *_conditions(wanted)])}
            ORDER BY reservation_id LIMIT :rows
        ) AS r ON true LEFT JOIN reservation_line l USING (reservation_id)
        ORDER BY r.reservation_id, l.sku, l.location, l.lot LIMIT :lines"""
    parameters = {
        "after": after,
        "now": now,
        "client_id": wanted.client_id,
        "state": wanted.state.value if wanted.state is not None else "",
        "sku": wanted.sku,
        "location": wanted.location,
        "order_reference": wanted.order_reference,
        "only_locations": sorted(wanted.only_locations),
        "rows": rows_max + 1,
        "lines": LINES_PER_PAGE_MAX,
    }
    rows = await read(engine, text(sql), parameters)
    lines = [row[:-2] for row in rows if row[0] is not None]
    found = [reservation_of(list(group)) for _, group in groupby(lines, key=itemgetter(0))]
    if len(lines) == LINES_PER_PAGE_MAX:
        found.pop()  # it may have lines that were not read
    more = len(found) > rows_max or len(lines) == LINES_PER_PAGE_MAX
    return Page(found[:rows_max], more, revision=rows[0][-2], record_time=rows[0][-1])


_HELD_NOW: Final = "expire_time > greatest(CAST(:now AS timestamptz), head.record_time)"
_IN_STATE: Final = {
    State.HELD: f"(state = 'held' AND {_HELD_NOW})",
    State.EXPIRED: f"(state = 'expired' OR state = 'held' AND NOT {_HELD_NOW})",
}


def _conditions(wanted: ReservationFilter) -> list[str]:
    conditions = []
    if wanted.client_id:
        conditions.append("client_id = :client_id")
    if wanted.state is not None:
        conditions.append(_IN_STATE.get(wanted.state, "state = :state"))
    if wanted.order_reference:
        conditions.append("order_reference = :order_reference")
    line = [f"{name} = :{name}" for name in ("sku", "location") if getattr(wanted, name)]
    if line:
        # One line for both: a reservation of this SKU here and of another one there is not meant.
        conditions.append(f"reservation_id IN (SELECT reservation_id FROM reservation_line WHERE {' AND '.join(line)})")
    if wanted.only_locations:
        conditions.append("""NOT EXISTS (SELECT FROM reservation_line AS other
                WHERE other.reservation_id = reservation.reservation_id
                  AND other.location <> ALL(CAST(:only_locations AS text[])))""")
    return conditions
