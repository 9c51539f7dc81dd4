"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Page, Position, next_position, read_page, unless_equal
from meshkit.log.verify import Problem
from profile_svc.store.keys import profile_key

_PROFILES_SQL = text("""
    SELECT page.profile_id, page.order_count, page.revision, event.balances[1], event.revision,
           (SELECT count(*) FROM purchase WHERE purchase.profile_id = page.profile_id)
    FROM (SELECT * FROM profile WHERE profile_id > :profile_id ORDER BY profile_id LIMIT :rows) AS page
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event WHERE key = 'profile' || chr(31) || page.profile_id
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY page.profile_id""")


async def check_profiles(engine: AsyncEngine, after: Position) -> Page:
    """Profiles against their last events, and against their purchases (P1)."""
    rows = await read_page(engine, _PROFILES_SQL, after or {"profile_id": ""})
    problems: list[Problem] = []
    for profile_id, order_count, revision, balance, changed, purchases in rows:
        subject = f"profile {profile_id}"
        problems += unless_equal("an order count is the balance of its last event", subject, balance, order_count)
        problems += unless_equal("a profile has the revision of its last event", subject, changed, revision)
        problems += unless_equal("an order count is the number of purchases", subject, purchases, order_count)
    keys = frozenset(profile_key(row[0]) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "profile_id"))


# A LIMIT keeps the look-up of the event one by key: as an EXISTS it would be answered by reading the whole log a page.
_PURCHASES_SQL = text("""
    SELECT page.purchase_id, profile.profile_id IS NOT NULL, page.line_count, lines.number, lines.last,
           event.revision IS NOT NULL
    FROM (SELECT * FROM purchase WHERE purchase_id > :purchase_id ORDER BY purchase_id LIMIT :rows) AS page
         LEFT JOIN profile USING (profile_id)
         LEFT JOIN LATERAL (
            SELECT count(*) AS number, max(position) AS last FROM purchase_line
            WHERE purchase_line.purchase_id = page.purchase_id
         ) AS lines ON true
         LEFT JOIN LATERAL (
            SELECT revision FROM log_event
            WHERE log_event.revision = page.revision AND kind = 'purchase_recorded'
              AND key = 'profile' || chr(31) || page.profile_id
              AND log_event.occur_time = page.occur_time AND log_event.record_time = page.record_time
            LIMIT 1
         ) AS event ON true
    ORDER BY page.purchase_id""")


async def check_purchases(engine: AsyncEngine, after: Position) -> Page:
    """Purchases against the events that recorded them, their profiles (P2) and their lines."""
    rows = await read_page(engine, _PURCHASES_SQL, after or {"purchase_id": ""})
    problems: list[Problem] = []
    for purchase_id, known, line_count, lines, last, recorded in rows:
        subject = f"purchase {purchase_id}"
        if not recorded:
            problems.append(Problem("a purchase is recorded by the event of its revision", subject, "one", "none"))
        if not known:
            problems.append(Problem("a purchase belongs to a profile", subject, "one", "none"))
        problems += unless_equal("a purchase has all its lines", subject, line_count, lines)
        if lines:
            problems += unless_equal("lines count from zero without a gap", subject, lines - 1, last)
    return Page(problems, len(rows), frozenset(), next_position(rows, "purchase_id"))


_LINES_SQL = text("""
    SELECT page.purchase_id, page.position, purchase.purchase_id IS NOT NULL
    FROM (SELECT purchase_id, position FROM purchase_line WHERE (purchase_id, position) > (:purchase_id, :position)
          ORDER BY purchase_id, position LIMIT :rows) AS page
         LEFT JOIN purchase USING (purchase_id)
    ORDER BY page.purchase_id, page.position""")


async def check_lines(engine: AsyncEngine, after: Position) -> Page:
    """Lines against purchases: a line without one belongs to nothing."""
    rows = await read_page(engine, _LINES_SQL, after or {"purchase_id": "", "position": -1})
    problems = [
        Problem("a line belongs to a purchase", f"purchase {purchase_id} line {position}", "one", "none")
        for purchase_id, position, known in rows
        if not known
    ]
    return Page(problems, len(rows), frozenset(), next_position(rows, "purchase_id", "position"))
