"""What callers list: each from one statement, so that revision and rows belong together.

Holds that have lapsed and that no batch has expired yet are given back here, so that expiry is exact to the instant.
Filters that are not set are left out of the statement, so that each has the plan that suits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.read import read
from meshkit.log.model import EventRow
from meshkit.log.reader import EVENT_COLUMNS, event_row
from promo_svc.domain.campaigns import Campaign, Coupon, Promotion
from promo_svc.domain.counters import Counts
from promo_svc.domain.prices import Price, PriceKey
from promo_svc.domain.redemptions import Redemption
from promo_svc.store.keys import AFTER_SEPARATOR, COUNTER, COUPON, PRICE, SEPARATOR, promotion_key
from promo_svc.store.pricing import LAPSED
from promo_svc.store.working_set import (
    CAMPAIGN_COLUMNS,
    COUPON_COLUMNS,
    PROMOTION_COLUMNS,
    REDEMPTION_COLUMNS,
    coupon_of,
    promotion_of,
    redemptions_of,
)

PROMOTIONS_OF_CAMPAIGN_MAX: Final = 1_000
"""Promotions that are answered with their campaign, the first in order of priority; the list has them all."""

_HEAD = "(SELECT revision, greatest(CAST(:now AS timestamptz), record_time) AS now FROM log_head) AS head"
"""Time is what the log's writer would take it to be."""
_HELD = f"""
    counter.revision, coalesce(counter.held - {LAPSED}, 0), coalesce(counter.committed, 0)"""

_Rows = Sequence[Row[*tuple[Any, ...]]]


class PriceRow(NamedTuple):
    """A price and the revision that last changed it."""

    price: Price
    revision: int


class PromotionRow(NamedTuple):
    """A promotion, its counts, and the revision that last changed either."""

    promotion: Promotion
    counts: Counts
    revision: int


class CouponRow(NamedTuple):
    """A coupon, its counts, and the revision that last changed either."""

    coupon: Coupon
    counts: Counts
    revision: int


@dataclass(frozen=True, slots=True)
class CampaignRead:
    """A campaign, if there is one, with promotions, and the revision at which they were read."""

    campaign: Campaign | None
    promotions: list[PromotionRow]
    revision: int


class RedemptionRead(NamedTuple):
    """Redemptions as they are stored, and the log's revision and time when they were read."""

    redemptions: list[Redemption]
    revision: int
    now: datetime


async def list_prices(
    engine: AsyncEngine,
    *,
    skus: Sequence[str],
    channel: str,
    currency: str,
    after: PriceKey | None,
    rows_max: int,
) -> tuple[list[PriceRow], int]:
    """At most `rows_max` prices in order of key, and the revision; with a channel, those for all channels too."""
    where = [
        (bool(skus), "sku = ANY(CAST(:skus AS text[]))"),
        (bool(channel), "channel IN (:channel, '')"),
        (bool(currency), "currency = :currency"),
        (after is not None, "(sku, channel, currency, valid_from) > (:after_0, :after_1, :after_2, :after_3)"),
    ]
    statement = _listing(
        "sku, channel, currency, valid_from, price_minor, tax_included, revision",
        "price",
        "sku, channel, currency, valid_from",
        tuple(condition for wanted, condition in where if wanted),
    )
    parameters = {"skus": list(skus), "channel": channel, "currency": currency, "rows": rows_max} | _after(after)
    rows = await read(engine, statement, parameters)
    found = [PriceRow(Price(PriceKey(*row[1:5]), row[5], row[6]), row[7]) for row in _present(rows)]
    return found, rows[0][0]


async def list_campaigns(
    engine: AsyncEngine, *, active_time: datetime | None, after: str, rows_max: int
) -> tuple[list[Campaign], int]:
    """At most `rows_max` campaigns in order of id, only those that run at a time if one is said, and the revision."""
    running = "start_time <= :active AND (end_time IS NULL OR end_time > :active)"
    columns = CAMPAIGN_COLUMNS.replace("c.", "")
    conditions = ("campaign_id > :after", running) if active_time else ("campaign_id > :after",)
    statement = _listing(columns, "campaign", "campaign_id", conditions)
    rows = await read(engine, statement, {"active": active_time, "after": after, "rows": rows_max})
    return [Campaign(*row[1:]) for row in _present(rows)], rows[0][0]


_CAMPAIGN_SQL = """
    SELECT head.revision, c.*, p.*
    FROM {head}
         LEFT JOIN (SELECT {campaign} FROM campaign AS c WHERE c.campaign_id = :campaign_id) AS c ON true
         LEFT JOIN LATERAL (
            SELECT {promotion}, {held}
            FROM promotion AS p LEFT JOIN counter ON counter.promotion_id = p.promotion_id
                                AND counter.coupon_code = '' AND counter.profile_id = ''
            WHERE {where}
            ORDER BY {order} LIMIT :rows
         ) AS p ON true
    ORDER BY {order}"""
_CAMPAIGN_WIDTH, _PROMOTION_WIDTH = 6, 13


async def read_campaign(
    engine: AsyncEngine,
    campaign_id: str,
    *,
    now: datetime,
    by_priority: bool,
    needs_coupon: bool | None = None,
    id_prefix: str = "",
    after: str = "",
    rows_max: int = PROMOTIONS_OF_CAMPAIGN_MAX,
) -> CampaignRead:
    """The campaign with at most `rows_max` of its promotions: by priority, or by id after `after`.

    `needs_coupon` None: those that do and those that do not.
    """
    order = "p.priority, p.promotion_id" if by_priority else "p.promotion_id"
    where = ["p.campaign_id = c.campaign_id", "p.promotion_id > :after"]
    where += ["p.needs_coupon = :needs_coupon"] if needs_coupon is not None else []
    # Ids hold any character, so that none stands behind all that begin with a prefix.
    where += ["starts_with(p.promotion_id, :prefix)"] if id_prefix else []
    parameters = {
        "campaign_id": campaign_id,
        "needs_coupon": needs_coupon,
        "prefix": id_prefix,
        "after": after,
        "rows": rows_max,
        "now": now,
    }
    rows = await read(engine, _campaign_sql(order, " AND ".join(where)), parameters)
    first = 1 + _CAMPAIGN_WIDTH
    campaign = Campaign(*rows[0][1:first]) if rows[0][1] is not None else None
    promotions = []
    for row in rows:
        if row[first] is not None:
            promotion = promotion_of(row[first : first + _PROMOTION_WIDTH])
            counted, held, committed = row[first + _PROMOTION_WIDTH :]
            promotions.append(PromotionRow(promotion, Counts(held, committed), max(promotion.revision, counted or 0)))
    return CampaignRead(campaign, promotions, rows[0][0])


@cache
def _campaign_sql(order: str, where: str) -> TextClause:
    return text(
        _CAMPAIGN_SQL.format(
            head=_HEAD, campaign=CAMPAIGN_COLUMNS, promotion=PROMOTION_COLUMNS, held=_HELD, where=where, order=order
        )
    )


async def list_coupons(
    engine: AsyncEngine,
    campaign_id: str,
    *,
    promotion_id: str,
    code_prefix: str,
    after: str,
    rows_max: int,
    now: datetime,
) -> tuple[list[CouponRow], bool, int]:
    """At most `rows_max` of the campaign's coupons in order of code, whether there is such a campaign, the revision."""
    where = ["u.campaign_id = :campaign_id", "u.code > :after"]
    where += ["u.promotion_id = :promotion_id"] if promotion_id else []
    # Codes are letters, digits, - and _: all of them stand before ~.
    where += ["u.code >= :prefix AND u.code < :prefix || '~'"] if code_prefix else []
    parameters = {
        "campaign_id": campaign_id,
        "promotion_id": promotion_id,
        "prefix": code_prefix,
        "after": after,
        "rows": rows_max,
        "now": now,
    }
    rows = await read(engine, _coupons_sql(" AND ".join(where)), parameters)
    found = []
    for row in rows:
        if row[2] is not None:
            coupon = coupon_of(row[2:8])
            found.append(CouponRow(coupon, Counts(row[9], row[10]), max(coupon.revision, row[8] or 0)))
    return found, rows[0][1], rows[0][0]


@cache
def _coupons_sql(where: str) -> TextClause:
    return text(f"""
        SELECT head.revision, EXISTS (SELECT FROM campaign WHERE campaign_id = :campaign_id), u.*
        FROM {_HEAD} LEFT JOIN LATERAL (
            SELECT {COUPON_COLUMNS}, {_HELD}
            FROM (SELECT * FROM coupon AS u WHERE {where} ORDER BY u.code LIMIT :rows) AS u
                 LEFT JOIN counter ON counter.promotion_id = u.promotion_id AND counter.coupon_code = u.code
                                  AND counter.profile_id = ''
        ) AS u ON true
        ORDER BY u.code""")


async def read_redemption(engine: AsyncEngine, redemption_id: str, *, now: datetime) -> RedemptionRead:
    """The redemption as it is stored, if there is one; whether it has lapsed is the caller's to see."""
    return await _read_redemptions(engine, ("redemption_id = :redemption_id",), redemption_id=redemption_id, now=now)


async def list_redemptions(
    engine: AsyncEngine,
    *,
    client_id: str,
    promotion_id: str,
    profile_id: str,
    state: str,
    after: str,
    rows_max: int,
    now: datetime,
) -> RedemptionRead:
    """At most `rows_max` redemptions in order of id; an empty filter means all. A hold that has lapsed is expired."""
    where = ["redemption_id > :after"]
    where += ["client_id = :client_id"] if client_id else []
    where += ["profile_id = :profile_id AND profile_id <> ''"] if profile_id else []
    where += ["CASE WHEN state = 'held' AND expire_time <= head.now THEN 'expired' ELSE state END = :state"] * bool(
        state
    )
    if promotion_id:
        used = (
            "SELECT redemption_id FROM redemption_offer WHERE promotion_id = :promotion_id AND redemption_id > :after"
        )
        where.append(f"redemption_id IN ({used})")
    return await _read_redemptions(
        engine,
        tuple(where),
        client_id=client_id,
        promotion_id=promotion_id,
        profile_id=profile_id,
        state=state,
        after=after,
        rows=rows_max,
        now=now,
    )


async def _read_redemptions(engine: AsyncEngine, where: tuple[str, ...], **parameters: object) -> RedemptionRead:
    rows = await read(engine, _redemptions_sql(where), {"rows": 1} | parameters)
    found = redemptions_of([row[2:] for row in rows if row[2] is not None])
    return RedemptionRead(found, rows[0][0], rows[0][1])


@cache
def _redemptions_sql(where: tuple[str, ...]) -> TextClause:
    return text(f"""
        SELECT head.revision, head.now, {REDEMPTION_COLUMNS}
        FROM {_HEAD}
             LEFT JOIN (
                SELECT redemption.* FROM redemption, {_HEAD}
                WHERE {" AND ".join(where)} ORDER BY redemption_id LIMIT :rows
             ) AS r ON true
             LEFT JOIN redemption_offer AS o USING (redemption_id)
        ORDER BY r.redemption_id, o.position""")


_LAPSED_HOLDS_SQL = text("""
    SELECT redemption_id, expire_time,
           (SELECT count(*) FROM redemption_offer AS o WHERE o.redemption_id = r.redemption_id)
    FROM redemption AS r WHERE state = 'held' AND expire_time <= :now ORDER BY expire_time LIMIT :rows""")


async def read_lapsed_holds(engine: AsyncEngine, *, now: datetime, rows_max: int) -> list[tuple[str, datetime, int]]:
    """Holds that have lapsed and wait to be expired, oldest first: id, expiry, and how many offers each has."""
    rows = await read(engine, _LAPSED_HOLDS_SQL, {"now": now, "rows": rows_max})
    return [(row[0], row[1], row[2]) for row in rows]


async def list_events(
    engine: AsyncEngine, *, after: tuple[int, int], sku: str, promotion_id: str, channels: Sequence[str], rows_max: int
) -> tuple[list[EventRow], int]:
    """At most `rows_max` events after (revision, index), oldest first, and the revision; of one SKU or promotion.

    With `channels` only events in them; an empty one stands for prices in all channels, and for what is in none.
    """
    where = ["(revision, index) > (:revision, :index)"]
    parameters: dict[str, object] = {"revision": after[0], "index": after[1], "rows": rows_max}
    if channels:
        where.append("channel = ANY(CAST(:channels AS text[]))")
        parameters["channels"] = list(channels)
    if sku:
        where.append("key >= :prices_from AND key < :prices_to")
        parameters |= _range("prices", f"{PRICE}{SEPARATOR}{sku}{SEPARATOR}")
    if promotion_id:
        where.append(
            "(key = :promotion OR key >= :coupons_from AND key < :coupons_to"
            " OR key >= :counters_from AND key < :counters_to)"
        )
        parameters["promotion"] = promotion_key(promotion_id)
        parameters |= _range("coupons", f"{COUPON}{SEPARATOR}{promotion_id}{SEPARATOR}")
        parameters |= _range("counters", f"{COUNTER}{SEPARATOR}{promotion_id}{SEPARATOR}")
    rows = await read(engine, _listing(EVENT_COLUMNS, "log_event", "revision, index", tuple(where)), parameters)
    return [event_row(row[1:]) for row in _present(rows)], rows[0][0]


def _range(name: str, prefix: str) -> dict[str, object]:
    return {f"{name}_from": prefix, f"{name}_to": prefix[:-1] + AFTER_SEPARATOR}


@cache
def _listing(columns: str, table: str, order: str, where: tuple[str, ...]) -> TextClause:
    """One page of a table with the head's revision, which stands alone in the one row of an empty page."""
    page = ", ".join(f"page.{column.strip()}" for column in order.split(","))
    return text(f"""
        SELECT head.revision, page.*
        FROM (SELECT revision FROM log_head) AS head LEFT JOIN (
            SELECT {columns} FROM {table} WHERE {" AND ".join(where) or "true"} ORDER BY {order} LIMIT :rows
        ) AS page ON true
        ORDER BY {page}""")


def _present(rows: _Rows) -> _Rows:
    return [row for row in rows if row[1] is not None]


def _after(key: PriceKey | None) -> dict[str, object]:
    return {f"after_{index}": part for index, part in enumerate(key)} if key else {}
