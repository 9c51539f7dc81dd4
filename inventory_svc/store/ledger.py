"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.stock import LevelKey
from inventory_svc.store.keys import level_key, sellable_key
from meshkit.log.audit import Page, Position, next_position, read_page, unless_equal
from meshkit.log.verify import Problem

_LEVELS_SQL = text("""
    SELECT level.sku, level.location, level.lot,
           ARRAY[level.on_hand, level.unavailable, level.reserved, level.allocated], level.revision,
           event.balances, event.revision,
           (SELECT coalesce(sum(quantity), 0)::bigint FROM reservation_line AS held
            WHERE held.sku = level.sku AND held.location = level.location AND held.lot = level.lot
              AND held.held_until IS NOT NULL),
           (SELECT coalesce(sum(quantity - shipped), 0)::bigint FROM reservation_line AS promise
            WHERE promise.sku = level.sku AND promise.location = level.location AND promise.lot = level.lot
              AND promise.promised)
    FROM (SELECT * FROM stock_level WHERE (sku, location, lot) > (:sku, :location, :lot)
          ORDER BY sku, location, lot LIMIT :rows) AS level
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event
            WHERE key = 'level' || chr(31) || level.sku || chr(31) || level.location || chr(31) || level.lot
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY level.sku, level.location, level.lot""")


async def check_levels(engine: AsyncEngine, after: Position) -> Page:
    """Levels against their last events, and against the lines of reservations (I3, I4)."""
    rows = await read_page(engine, _LEVELS_SQL, after or {"sku": "", "location": "", "lot": ""})
    problems: list[Problem] = []
    for sku, location, lot, stored, revision, balances, changed, held, promised in rows:
        subject = f"level {sku} at {location}" + (f" lot {lot}" if lot else "")
        problems += unless_equal("a level is the balance of its last event", subject, balances, stored)
        problems += unless_equal("a level has the revision of its last event", subject, changed, revision)
        problems += unless_equal("reserved is the sum of the held lines", subject, held, stored[2])
        problems += unless_equal("allocated is the sum of the promised lines", subject, promised, stored[3])
    keys = frozenset(level_key(LevelKey(*row[:3])) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "sku", "location", "lot"))


_SELLABLE_SQL = text("""
    SELECT entry.sku, entry.channel, entry.units, entry.revision, event.balances[1], event.revision,
           (SELECT coalesce(sum(greatest(0, on_hand - unavailable - reserved - allocated)), 0)::bigint
            FROM stock_level WHERE stock_level.sku = entry.sku)
    FROM (SELECT * FROM sellable WHERE (sku, channel) > (:sku, :channel) ORDER BY sku, channel LIMIT :rows) AS entry
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event
            WHERE key = 'sellable' || chr(31) || entry.sku || chr(31) || entry.channel
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY entry.sku, entry.channel""")


async def check_sellable(engine: AsyncEngine, after: Position) -> Page:
    """Sellable quantities against their last events, and against the levels (I5)."""
    rows = await read_page(engine, _SELLABLE_SQL, after or {"sku": "", "channel": ""})
    problems: list[Problem] = []
    for sku, channel, units, revision, balance, changed, available in rows:
        subject = f"sellable {sku} in {channel}"
        problems += unless_equal("a sellable quantity is the balance of its last event", subject, balance, units)
        problems += unless_equal("a sellable quantity has the revision of its last event", subject, changed, revision)
        problems += unless_equal("sellable is the sum of what is available", subject, available, units)
    keys = frozenset(sellable_key(row[0], row[1]) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "sku", "channel"))


_RESERVATIONS_SQL = text("""
    SELECT page.reservation_id, page.state, count(line.reservation_id),
           count(*) FILTER (WHERE line.held_until IS DISTINCT FROM
                                  CASE WHEN page.state = 'held' THEN page.expire_time END
                               OR line.promised <> (page.state = 'committed' AND line.shipped < line.quantity))
    FROM (SELECT * FROM reservation WHERE reservation_id > :reservation_id ORDER BY reservation_id LIMIT :rows) AS page
         LEFT JOIN reservation_line AS line USING (reservation_id)
    GROUP BY page.reservation_id, page.state
    ORDER BY page.reservation_id""")


async def check_reservations(engine: AsyncEngine, after: Position) -> Page:
    """Reservations against their lines: held or promised as the state says."""
    rows = await read_page(engine, _RESERVATIONS_SQL, after or {"reservation_id": ""})
    problems: list[Problem] = []
    for reservation_id, state, lines, wrong in rows:
        subject = f"reservation {reservation_id} ({state})"
        if not lines:
            problems.append(Problem("a reservation has lines", subject, "at least one", "none"))
        problems += unless_equal("lines are held or promised as their reservation's state says", subject, 0, wrong)
    return Page(problems, len(rows), frozenset(), next_position(rows, "reservation_id"))


_LINES_SQL = text("""
    SELECT page.reservation_id, page.sku, page.location, page.lot, reservation.reservation_id IS NOT NULL
    FROM (SELECT * FROM reservation_line
          WHERE (reservation_id, sku, location, lot) > (:reservation_id, :sku, :location, :lot)
          ORDER BY reservation_id, sku, location, lot LIMIT :rows) AS page
         LEFT JOIN reservation USING (reservation_id)
    ORDER BY page.reservation_id, page.sku, page.location, page.lot""")


async def check_lines(engine: AsyncEngine, after: Position) -> Page:
    """Lines against reservations: a line without one would hold its units for ever."""
    start: Position = {"reservation_id": "", "sku": "", "location": "", "lot": ""}
    rows = await read_page(engine, _LINES_SQL, after or start)
    problems = [
        Problem("a line belongs to a reservation", f"reservation {row[0]} line {row[1]} at {row[2]}", "one", "none")
        for row in rows
        if not row[4]
    ]
    return Page(problems, len(rows), frozenset(), next_position(rows, "reservation_id", "sku", "location", "lot"))
