"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.read import read
from meshkit.log.verify import Problem

PAGE_ROWS = 1_000

_LEVELS_SQL = text("""
    SELECT level.sku, level.location, level.lot,
           ARRAY[level.on_hand, level.unavailable, level.reserved, level.allocated], event.balances,
           (SELECT coalesce(sum(quantity), 0)::bigint FROM reservation_line AS held
            WHERE held.sku = level.sku AND held.location = level.location AND held.lot = level.lot
              AND held.held_until IS NOT NULL),
           (SELECT coalesce(sum(quantity - shipped), 0)::bigint FROM reservation_line AS promise
            WHERE promise.sku = level.sku AND promise.location = level.location AND promise.lot = level.lot
              AND promise.promised)
    FROM (SELECT * FROM stock_level WHERE (sku, location, lot) > (:sku, :location, :lot)
          ORDER BY sku, location, lot LIMIT :rows) AS level
         LEFT JOIN LATERAL (
            SELECT balances FROM log_event
            WHERE key = 'level' || chr(31) || level.sku || chr(31) || level.location || chr(31) || level.lot
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY level.sku, level.location, level.lot""")

_SELLABLE_SQL = text("""
    SELECT entry.sku, entry.channel, entry.units, event.balances,
           (SELECT coalesce(sum(greatest(0, on_hand - unavailable - reserved - allocated)), 0)::bigint
            FROM stock_level WHERE stock_level.sku = entry.sku)
    FROM (SELECT * FROM sellable WHERE (sku, channel) > (:sku, :channel) ORDER BY sku, channel LIMIT :rows) AS entry
         LEFT JOIN LATERAL (
            SELECT balances FROM log_event WHERE key = 'sellable' || chr(31) || entry.sku || chr(31) || entry.channel
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY entry.sku, entry.channel""")

_RESERVATIONS_SQL = text("""
    SELECT page.reservation_id, page.state, page.expire_time,
           count(*) FILTER (WHERE line.held_until IS DISTINCT FROM
                                  CASE WHEN page.state = 'held' THEN page.expire_time END)
           + count(*) FILTER (WHERE line.promised <> (page.state = 'committed' AND line.shipped < line.quantity)),
           count(line.reservation_id)
    FROM (SELECT * FROM reservation WHERE reservation_id > :reservation_id ORDER BY reservation_id LIMIT :rows) AS page
         LEFT JOIN reservation_line AS line USING (reservation_id)
    GROUP BY page.reservation_id, page.state, page.expire_time
    ORDER BY page.reservation_id""")

Page = tuple[list[Problem], int, dict[str, object]]
"""What is wrong, how many rows were looked at, and the parameters of the next page (none after the last)."""


async def check_levels(engine: AsyncEngine, after: dict[str, object]) -> Page:
    """Levels against the balances of their last events (I3 and I4 against their reservations)."""
    rows = await _page(engine, _LEVELS_SQL, after or {"sku": "", "location": "", "lot": ""})
    problems = []
    for sku, location, lot, stored, balances, held, promised in rows:
        subject = f"level {sku} at {location}" + (f" lot {lot}" if lot else "")
        if stored != balances:
            problems.append(Problem("a level is the balance of its last event", subject, str(balances), str(stored)))
        if stored[2] != held:
            problems.append(Problem("reserved is the sum of the held lines", subject, str(held), str(stored[2])))
        if stored[3] != promised:
            problems.append(
                Problem("allocated is the sum of the promised lines", subject, str(promised), str(stored[3]))
            )
    return problems, len(rows), _next(rows, "sku", "location", "lot")


async def check_sellable(engine: AsyncEngine, after: dict[str, object]) -> Page:
    """Sellable quantities against the balances of their last events and against the levels (I5)."""
    rows = await _page(engine, _SELLABLE_SQL, after or {"sku": "", "channel": ""})
    problems = []
    for sku, channel, units, balances, available in rows:
        subject = f"sellable {sku} in {channel}"
        if [units] != balances:
            rule = "a sellable quantity is the balance of its last event"
            problems.append(Problem(rule, subject, str(balances), str([units])))
        if units != available:
            rule = "sellable is the sum of what is available"
            problems.append(Problem(rule, subject, str(available), str(units)))
    return problems, len(rows), _next(rows, "sku", "channel")


async def check_reservations(engine: AsyncEngine, after: dict[str, object]) -> Page:
    """The lines of each reservation against its state."""
    rows = await _page(engine, _RESERVATIONS_SQL, after or {"reservation_id": ""})
    problems = []
    for reservation_id, state, _, wrong, lines in rows:
        if wrong or not lines:
            rule = "lines are held or promised as their reservation's state says"
            actual = f"{wrong} of {lines} lines otherwise"
            problems.append(Problem(rule, f"reservation {reservation_id} ({state})", "all lines", actual))
    return problems, len(rows), _next(rows, "reservation_id")


async def _page(engine: AsyncEngine, sql: TextClause, after: dict[str, object]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await read(engine, sql, {**after, "rows": PAGE_ROWS})]


def _next(rows: list[tuple[Any, ...]], *names: str) -> dict[str, object]:
    return dict(zip(names, rows[-1], strict=False)) if len(rows) == PAGE_ROWS else {}
