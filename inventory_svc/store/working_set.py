"""What a batch reads before it decides, and what it writes after.

Both run on the kernel's connection in pipeline mode, inside its transaction, with the log's head locked: nobody else
writes these tables meanwhile, so nothing here locks a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from inventory_svc.domain.catalogue import Location, LocationKind, Sku, UpsertLocations, UpsertSkus
from inventory_svc.domain.decide import Body, WorkingSet
from inventory_svc.domain.movements import Adjust, Receive, SetCounts
from inventory_svc.domain.reservations import (
    Commit,
    Expire,
    Extend,
    Line,
    Release,
    Reservation,
    Reserve,
    Ship,
    State,
    keys_of,
)
from inventory_svc.domain.stock import Counters, Level, LevelKey, Sellable
from meshkit.log.limits import LAPSING_LINES_MAX, LAPSING_MAX
from meshkit.log.model import Writer

_WANTED = """
    WITH wanted AS (
        SELECT sku, location, lot FROM unnest(%b::text[], %b::text[], %b::text[]) AS named (sku, location, lot)
        UNION ALL
        SELECT sku, location, lot FROM reservation_line WHERE reservation_id = ANY(%b::text[])
    )"""
"""The levels that a batch needs: those that its commands name, and those of the reservations that its commands name."""
_LEVELS_SQL = f"""{_WANTED}
    SELECT wanted.sku, wanted.location, wanted.lot, known.sku IS NOT NULL, place.location IS NOT NULL,
           level.on_hand, level.unavailable, level.reserved, level.allocated, level.revision,
           entry.channel, entry.units, entry.revision
    FROM wanted
         LEFT JOIN stock_level AS level USING (sku, location, lot)
         LEFT JOIN sku AS known ON known.sku = wanted.sku
         LEFT JOIN location AS place ON place.location = wanted.location
         LEFT JOIN sellable AS entry ON entry.sku = wanted.sku"""
"""A row for each wanted level and channel: whether SKU and location are known, the level, what the channel may sell."""
RESERVATION_COLUMNS = """
    r.reservation_id, r.client_id, r.state, r.channel, r.create_time, r.expire_time, r.order_reference, r.revision,
    l.sku, l.location, l.lot, l.quantity, l.shipped"""
_EXPIRE_TIME = 5
_RESERVATIONS_SQL = f"""
    SELECT {RESERVATION_COLUMNS}
    FROM reservation r JOIN reservation_line l USING (reservation_id)
    WHERE r.reservation_id = ANY(%b::text[])
    ORDER BY r.reservation_id, l.sku, l.location, l.lot"""
_LAPSING_SQL = f"""{_WANTED}, lapsing AS (
        SELECT held.reservation_id, held.held_until
        FROM wanted JOIN reservation_line held USING (sku, location, lot)
        WHERE held.held_until <= %b
        GROUP BY held.reservation_id, held.held_until
        ORDER BY held.held_until, held.reservation_id LIMIT {LAPSING_MAX}
    ), counted AS (
        SELECT reservation_id, sum(lines) OVER (ORDER BY held_until, reservation_id) - lines AS lines_before
        FROM lapsing CROSS JOIN LATERAL (
            SELECT count(*) AS lines FROM reservation_line AS l WHERE l.reservation_id = lapsing.reservation_id
        ) AS own
    )
    SELECT {RESERVATION_COLUMNS}
    FROM counted JOIN reservation r USING (reservation_id) JOIN reservation_line l USING (reservation_id)
    WHERE counted.lines_before < {LAPSING_LINES_MAX}
    ORDER BY r.reservation_id, l.sku, l.location, l.lot"""
_SKUS_SQL = "SELECT sku, name, product, brand, category, attributes FROM sku WHERE sku = ANY(%b::text[])"
_LOCATIONS_SQL = "SELECT location, name, kind FROM location WHERE location = ANY(%b::text[])"


async def load(connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
    """The rows that the bodies name, and the holds on the same levels that lapse by `horizon`, with their levels.

    One round trip, and one more where lapsing holds have lines on further levels. Holds that lapse on those only are
    nobody's question: no command of this batch decides there. For the same reason none is looked for where the only
    command is to expire a hold.
    """
    state = WorkingSet()
    named = _Named.of(bodies)
    if named.skus:
        for row in await _fetch(connection, _SKUS_SQL, sorted(named.skus)):
            state.skus[row[0]] = Sku(row[0], row[1], row[2], row[3], row[4], tuple(sorted(row[5].items())))
    if named.locations:
        for row in await _fetch(connection, _LOCATIONS_SQL, sorted(named.locations)):
            state.locations[row[0]] = Location(row[0], row[1], LocationKind(row[2]))
    if named.keys or named.reservation_ids or named.expiring_ids:
        await _load_levels(connection, state, named, horizon)
        further = _Named(keys=keys_of(state.reservations.values()) - named.keys - state.levels.keys())
        if further.keys:
            await _load_levels(connection, state, further, None)
    return state


async def _load_levels(connection: Writer, state: WorkingSet, named: _Named, horizon: datetime | None) -> None:
    """Queues the statements, then reads their answers: one round trip. Without `horizon` no hold lapses."""
    ids, expiring_ids = sorted(named.reservation_ids), sorted(named.expiring_ids)
    keys = sorted(named.keys)
    columns = ([key.sku for key in keys], [key.location for key in keys], [key.lot for key in keys])
    levels = await connection.execute(_LEVELS_SQL, (*columns, ids + expiring_ids), binary=True)
    lapsing = None
    if horizon is not None and (keys or ids):
        lapsing = await connection.execute(_LAPSING_SQL, (*columns, ids, horizon), binary=True)
    own = None
    if ids or expiring_ids:
        own = await connection.execute(_RESERVATIONS_SQL, (ids + expiring_ids,), binary=True)
    _take_levels(state, await levels.fetchall())
    if lapsing is not None:
        rows = await lapsing.fetchall()
        _take_reservations(state, rows)
        if len(rows) >= LAPSING_LINES_MAX or len({row[0] for row in rows}) == LAPSING_MAX:
            state.lapsing_until = max(row[_EXPIRE_TIME] for row in rows)
    if own is not None:
        _take_reservations(state, await own.fetchall())


def _take_levels(state: WorkingSet, rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows of `_LEVELS_SQL`."""
    for row in rows:
        key = LevelKey(*row[:3])
        if row[3]:
            state.catalogue.skus.add(key.sku)
        if row[4]:
            state.catalogue.locations.add(key.location)
        if row[9] is not None:
            state.levels[key] = Level(Counters(*row[5:9]), row[9])
        if row[10] is not None:
            state.sellable[key.sku, row[10]] = Sellable(row[11], row[12])


def _take_reservations(state: WorkingSet, rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows of `RESERVATION_COLUMNS`, those of one reservation next to each other."""
    for reservation_id, group in groupby(rows, key=itemgetter(0)):
        state.reservations[reservation_id] = reservation_of(list(group))


def reservation_of(rows: Sequence[tuple[Any, ...]]) -> Reservation:
    """A reservation from its rows, one a line, with the columns of `RESERVATION_COLUMNS`."""
    reservation_id, client_id, state, channel, create_time, expire_time, order_reference, revision = rows[0][:8]
    return Reservation(
        reservation_id=reservation_id,
        client_id=client_id,
        state=State(state),
        lines=tuple(Line(LevelKey(*row[8:11]), row[11], row[12]) for row in rows),
        channel=channel,
        create_time=create_time,
        expire_time=expire_time,
        order_reference=order_reference,
        revision=revision,
    )


async def _fetch(connection: Writer, sql: LiteralString, values: list[str]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(sql, (values,), binary=True)).fetchall()


@dataclass(slots=True)
class _Named:
    """What the commands of a batch name."""

    keys: set[LevelKey] = field(default_factory=set)
    reservation_ids: set[str] = field(default_factory=set)
    expiring_ids: set[str] = field(default_factory=set)
    skus: set[str] = field(default_factory=set)
    locations: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, bodies: Sequence[Body]) -> _Named:
        named = cls()
        for body in bodies:
            match body:
                case Reserve():
                    named.keys.update([key for key, _ in body.lines])
                    if body.id_chosen:  # one that the service made is new, and not worth a look
                        named.reservation_ids.add(body.reservation_id)
                case Receive() | Adjust():
                    named.keys.update([key for key, _ in body.lines])
                case SetCounts():
                    named.keys.update([line.key for line in body.lines])
                case Extend() | Commit() | Release() | Ship():
                    named.reservation_ids.add(body.reservation_id)
                case Expire():
                    named.expiring_ids.add(body.reservation_id)
                case UpsertSkus():
                    named.skus.update([sku.sku for sku in body.skus])
                case UpsertLocations():
                    named.locations.update([place.location for place in body.locations])
        return named


async def save(connection: Writer, state: WorkingSet) -> None:
    """Queues the statements that write what the batch changed: one a table, however many rows."""
    if state.changed_skus:
        await _save_skus(connection, [(state.skus[code], revision) for code, revision in state.changed_skus.items()])
    if state.changed_locations:
        places = [(state.locations[code], revision) for code, revision in state.changed_locations.items()]
        await _save_locations(connection, places)
    if state.changed_levels:
        await _save_levels(connection, [(key, state.levels[key]) for key in state.changed_levels])
    if state.changed_sellable:
        await _save_sellable(connection, [(entry, state.sellable[entry]) for entry in state.changed_sellable])
    if state.changed_reservations:
        await _save_reservations(connection, [state.reservations[each] for each in state.changed_reservations])


async def _save_skus(connection: Writer, skus: Sequence[tuple[Sku, int]]) -> None:
    await connection.execute(
        """
        INSERT INTO sku (sku, name, product, brand, category, attributes, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::jsonb[], %b::bigint[])
        ON CONFLICT (sku) DO UPDATE SET (name, product, brand, category, attributes, revision) =
            (excluded.name, excluded.product, excluded.brand, excluded.category, excluded.attributes, excluded.revision)
        """,
        (
            [sku.sku for sku, _ in skus],
            [sku.name for sku, _ in skus],
            [sku.product for sku, _ in skus],
            [sku.brand for sku, _ in skus],
            [sku.category for sku, _ in skus],
            [Jsonb(dict(sku.attributes)) for sku, _ in skus],
            [revision for _, revision in skus],
        ),
    )


async def _save_locations(connection: Writer, places: Sequence[tuple[Location, int]]) -> None:
    await connection.execute(
        """
        INSERT INTO location (location, name, kind, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[])
        ON CONFLICT (location) DO UPDATE SET (name, kind, revision) = (excluded.name, excluded.kind, excluded.revision)
        """,
        (
            [place.location for place, _ in places],
            [place.name for place, _ in places],
            [place.kind.value for place, _ in places],
            [revision for _, revision in places],
        ),
    )


async def _save_levels(connection: Writer, levels: Sequence[tuple[LevelKey, Level]]) -> None:
    await connection.execute(
        """
        INSERT INTO stock_level (sku, location, lot, on_hand, unavailable, reserved, allocated, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[],
                             %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
        ON CONFLICT (sku, location, lot) DO UPDATE SET (on_hand, unavailable, reserved, allocated, revision) =
            (excluded.on_hand, excluded.unavailable, excluded.reserved, excluded.allocated, excluded.revision)
        """,
        (
            [key.sku for key, _ in levels],
            [key.location for key, _ in levels],
            [key.lot for key, _ in levels],
            [level.counters.on_hand for _, level in levels],
            [level.counters.unavailable for _, level in levels],
            [level.counters.reserved for _, level in levels],
            [level.counters.allocated for _, level in levels],
            [level.revision for _, level in levels],
        ),
    )


async def _save_sellable(connection: Writer, entries: Sequence[tuple[tuple[str, str], Sellable]]) -> None:
    await connection.execute(
        """
        INSERT INTO sellable (sku, channel, units, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[])
        ON CONFLICT (sku, channel) DO UPDATE SET (units, revision) = (excluded.units, excluded.revision)
        """,
        (
            [sku for (sku, _), _ in entries],
            [channel for (_, channel), _ in entries],
            [entry.units for _, entry in entries],
            [entry.revision for _, entry in entries],
        ),
    )


async def _save_reservations(connection: Writer, changed: Sequence[Reservation]) -> None:
    await connection.execute(
        """
        INSERT INTO reservation (reservation_id, client_id, state, channel, order_reference, create_time, expire_time,
                                 revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                             %b::timestamptz[], %b::timestamptz[], %b::bigint[])
        ON CONFLICT (reservation_id) DO UPDATE SET (state, order_reference, expire_time, revision) =
            (excluded.state, excluded.order_reference, excluded.expire_time, excluded.revision)
        """,
        (
            [each.reservation_id for each in changed],
            [each.client_id for each in changed],
            [each.state.value for each in changed],
            [each.channel for each in changed],
            [each.order_reference for each in changed],
            [each.create_time for each in changed],
            [each.expire_time for each in changed],
            [each.revision for each in changed],
        ),
    )
    lines = [(each, line) for each in changed for line in each.lines]
    await connection.execute(
        """
        INSERT INTO reservation_line (reservation_id, sku, location, lot, quantity, shipped, held_until, promised)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[],
                             %b::timestamptz[], %b::boolean[])
        ON CONFLICT (reservation_id, sku, location, lot) DO UPDATE SET (shipped, held_until, promised) =
            (excluded.shipped, excluded.held_until, excluded.promised)
        """,
        (
            [each.reservation_id for each, _ in lines],
            [line.key.sku for _, line in lines],
            [line.key.location for _, line in lines],
            [line.key.lot for _, line in lines],
            [line.quantity for _, line in lines],
            [line.shipped for _, line in lines],
            [each.expire_time if each.state is State.HELD else None for each, _ in lines],
            [each.state is State.COMMITTED and line.shipped < line.quantity for each, line in lines],
        ),
    )
