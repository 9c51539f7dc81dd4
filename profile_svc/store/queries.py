"""What callers read: each from one statement, so that revision and rows belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.money import Money
from meshkit.db.read import read
from profile_svc.domain.profiles import Profile
from profile_svc.domain.purchases import Purchase, PurchaseLine
from profile_svc.store.working_set import PROFILE_COLUMNS, profile_of

PAGE_LINES_MAX: Final = 20_000
"""Lines after which a page of purchases ends early: with the longest SKUs that is some 6 MiB of the 16 that a message
may have. The first purchase of a page is always whole, and has at most 1,000."""

_PROFILE_SQL = text(f"""
    SELECT head.revision, {PROFILE_COLUMNS}
    FROM (SELECT revision FROM log_head) AS head LEFT JOIN profile ON profile.profile_id = :profile_id""")


async def read_profile(engine: AsyncEngine, profile_id: str) -> tuple[Profile | None, int]:
    """The profile, if it is known, and the revision at which it was read."""
    revision, *row = (await read(engine, _PROFILE_SQL, {"profile_id": profile_id}))[0]
    return (profile_of(row) if row[0] is not None else None), revision


_PROFILE_PAGE = """
    SELECT head.revision, {columns}
    FROM (SELECT revision FROM log_head) AS head
         LEFT JOIN (SELECT * FROM profile WHERE profile_id > :after {condition}
                    ORDER BY profile_id LIMIT :rows) AS profile ON true
    ORDER BY profile.profile_id"""
_PROFILE_PAGE_SQL = text(_PROFILE_PAGE.format(columns=PROFILE_COLUMNS, condition=""))
_TAGGED_PAGE_SQL = text(
    _PROFILE_PAGE.format(columns=PROFILE_COLUMNS, condition="AND tags @> ARRAY[CAST(:tag AS text)]")
)
"""A statement of its own: one plan serves every call, and a plan for `no tag or this tag` could not use the index."""


async def read_profile_page(engine: AsyncEngine, *, tag: str, after: str, rows_max: int) -> tuple[list[Profile], int]:
    """At most `rows_max` profiles after an id in order of id, and the revision at which they were read.

    An empty `tag` means all.
    """
    parameters: dict[str, object] = {"after": after, "rows": rows_max}
    if tag:
        rows = await read(engine, _TAGGED_PAGE_SQL, {**parameters, "tag": tag})
    else:
        rows = await read(engine, _PROFILE_PAGE_SQL, parameters)
    return [profile_of(row[1:]) for row in rows if row[1] is not None], rows[0][0]


class PurchasePage(NamedTuple):
    """Purchases, newest first; whether their profile is known, whether there are more, and when this was so."""

    known: bool
    purchases: list[Purchase]
    more: bool
    revision: int


# IN, not EXISTS: that may be answered by reading the lines of all purchases of everybody.
_PURCHASES_SQL = text("""
    WITH newest AS (
        SELECT * FROM purchase
        WHERE profile_id = :profile_id AND revision < :before
          AND (cardinality(CAST(:channels AS text[])) = 0 OR channel = ANY(CAST(:channels AS text[])))
          AND (:sku = '' OR :sku IN (SELECT sku FROM purchase_line AS line
                                     WHERE line.purchase_id = purchase.purchase_id))
        ORDER BY revision DESC LIMIT :rows + 1
    ), page AS (
        SELECT newest.*, count(*) OVER () AS found, row_number() OVER newest_first AS number,
               sum(line_count) OVER newest_first - line_count AS lines_before
        FROM newest WINDOW newest_first AS (ORDER BY revision DESC)
    )
    SELECT head.revision, profile.profile_id IS NOT NULL, page.found,
           page.purchase_id, page.profile_id, page.order_reference, page.channel, page.total_minor, page.currency,
           page.occur_time, page.record_time, page.revision, lines.skus, lines.quantities, lines.totals
    FROM (SELECT revision FROM log_head) AS head
         LEFT JOIN profile ON profile.profile_id = :profile_id
         LEFT JOIN page ON page.number <= :rows AND page.lines_before < :lines
         LEFT JOIN LATERAL (
            SELECT array_agg(sku ORDER BY position) AS skus, array_agg(quantity ORDER BY position) AS quantities,
                   array_agg(total_minor ORDER BY position) AS totals
            FROM purchase_line WHERE purchase_line.purchase_id = page.purchase_id
         ) AS lines ON true
    ORDER BY page.revision DESC""")


async def read_purchases(
    engine: AsyncEngine,
    profile_id: str,
    *,
    sku: str,
    channels: Sequence[str],
    before: int,
    rows_max: int,
    lines_max: int = PAGE_LINES_MAX,
) -> PurchasePage:
    """At most `rows_max` purchases of a profile recorded before a revision; fewer where they have very many lines.

    An empty `sku`, or no `channels`, means all.
    """
    parameters = {
        "profile_id": profile_id,
        "sku": sku,
        "channels": list(channels),
        "before": before,
        "rows": rows_max,
        "lines": lines_max,
    }
    rows = await read(engine, _PURCHASES_SQL, parameters)
    revision, known, found = rows[0][:3]
    purchases = [purchase_of(row[3:]) for row in rows if row[3] is not None]
    return PurchasePage(known, purchases, more=len(purchases) < (found or 0), revision=revision)


def purchase_of(row: Sequence[Any]) -> Purchase:
    """A purchase from its columns and, as arrays, those of its lines; no arrays where it has no line."""
    (
        purchase_id,
        profile_id,
        order_reference,
        channel,
        total_minor,
        currency,
        occur_time,
        record_time,
        revision,
        skus,
        quantities,
        totals,
    ) = row
    return Purchase(
        purchase_id=purchase_id,
        profile_id=profile_id,
        order_reference=order_reference,
        channel=channel,
        lines=tuple(
            PurchaseLine(sku, quantity, None if minor is None else Money(minor, currency))
            for sku, quantity, minor in zip(skus or (), quantities or (), totals or (), strict=True)
        ),
        total=Money(total_minor, currency),
        occur_time=occur_time,
        record_time=record_time,
        revision=revision,
    )
