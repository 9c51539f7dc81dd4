"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from google.protobuf.message import Message
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Check, Page, Position, next_position, read_page, unless_equal, unless_said
from meshkit.log.verify import Problem
from profile_svc.domain.profiles import Profile
from profile_svc.domain.purchases import Purchase
from profile_svc.store.keys import profile_key
from profile_svc.store.queries import purchase_of

MessageOf = Callable[[Profile | Purchase], Message]
"""A noun as the payload of its event has it."""
PAGE_PURCHASES: Final = 100
"""Purchases of one page: each may have 1,000 lines."""

# A purchase changes order count and revision only, so tags and time are those of the last event that is not one.
_PROFILES_SQL = text("""
    SELECT page.profile_id, page.tags, page.order_count, page.create_time, page.revision,
           event.balances[1], event.revision,
           (SELECT count(*) FROM purchase WHERE purchase.profile_id = page.profile_id), said.payload
    FROM (SELECT * FROM profile WHERE profile_id > :profile_id ORDER BY profile_id LIMIT :rows) AS page
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event WHERE key = 'profile' || chr(31) || page.profile_id
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
         LEFT JOIN LATERAL (
            SELECT payload FROM log_event
            WHERE key = 'profile' || chr(31) || page.profile_id AND kind = 'profile_upserted'
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS said ON true
    ORDER BY page.profile_id""")


async def check_profiles(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Profiles against their last events, and against their purchases (P1)."""
    rows = await read_page(engine, _PROFILES_SQL, after or {"profile_id": ""})
    problems: list[Problem] = []
    for profile_id, tags, order_count, create_time, revision, balance, changed, purchases, payload in rows:
        subject = f"profile {profile_id}"
        problems += unless_equal("an order count is the balance of its last event", subject, balance, order_count)
        problems += unless_equal("a profile has the revision of its last event", subject, changed, revision)
        problems += unless_equal("an order count is the number of purchases", subject, purchases, order_count)
        if payload is not None:
            stored = message_of(Profile(profile_id, tuple(tags), order_count, create_time, revision))
            rule = "a profile is what its last event says"
            problems += unless_said(rule, subject, payload, stored, but=("order_count", "revision"))
    keys = frozenset(profile_key(row[0]) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "profile_id"))


# A LIMIT keeps the look-up of the event one by key: as an EXISTS it would be answered by reading the whole log a page.
_PURCHASES_SQL = text("""
    SELECT page.purchase_id, page.profile_id, page.order_reference, page.channel, page.total_minor, page.currency,
           page.occur_time, page.record_time, page.revision, lines.skus, lines.quantities, lines.totals,
           profile.profile_id IS NOT NULL, page.line_count, lines.number, lines.last, event.payload
    FROM (SELECT * FROM purchase WHERE purchase_id > :purchase_id ORDER BY purchase_id LIMIT :rows) AS page
         LEFT JOIN profile USING (profile_id)
         LEFT JOIN LATERAL (
            SELECT count(*) AS number, max(position) AS last, array_agg(sku ORDER BY position) AS skus,
                   array_agg(quantity ORDER BY position) AS quantities,
                   array_agg(total_minor ORDER BY position) AS totals
            FROM purchase_line
            WHERE purchase_line.purchase_id = page.purchase_id
         ) AS lines ON true
         LEFT JOIN LATERAL (
            SELECT payload FROM log_event
            WHERE log_event.revision = page.revision AND kind = 'purchase_recorded'
              AND key = 'profile' || chr(31) || page.profile_id
            LIMIT 1
         ) AS event ON true
    ORDER BY page.purchase_id""")


async def check_purchases(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Purchases against the events that recorded them, their profiles (P2) and their lines."""
    rows = await read_page(engine, _PURCHASES_SQL, after or {"purchase_id": ""}, rows_max=PAGE_PURCHASES)
    problems: list[Problem] = []
    for *columns, known, line_count, lines, last, payload in rows:
        purchase = purchase_of(columns)
        subject = f"purchase {purchase.purchase_id}"
        if payload is None:
            problems.append(Problem("a purchase is recorded by the event of its revision", subject, "one", "none"))
        else:
            rule = "a purchase is what its event says"
            problems += unless_said(rule, subject, payload, message_of(purchase))
        if not known:
            problems.append(Problem("a purchase belongs to a profile", subject, "one", "none"))
        problems += unless_equal("a purchase has all its lines", subject, line_count, lines)
        if lines:
            problems += unless_equal("lines count from zero without a gap", subject, lines - 1, last)
    following = next_position(rows, "purchase_id", rows_max=PAGE_PURCHASES)
    return Page(problems, len(rows), frozenset(), following)


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


def checks(message_of: MessageOf) -> list[Check]:
    """All of them, in the order in which an audit reports."""
    return [partial(check_profiles, message_of), partial(check_purchases, message_of), check_lines]
