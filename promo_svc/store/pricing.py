"""What the evaluation of a cart reads: prices, the offers that run, how often they are used.

Holds that have lapsed and that no batch has expired yet are given back here, so that expiry is exact to the instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.read import read
from promo_svc.domain.campaigns import Campaign, Coupon, Promotion
from promo_svc.domain.counters import Counter, CounterKey, Counts
from promo_svc.store.working_set import (
    CAMPAIGN_COLUMNS,
    COUPON_COLUMNS,
    PROMOTION_COLUMNS,
    coupon_of,
    promotion_of,
)


class ListPrice(NamedTuple):
    """One unit's price from the list, and whether the tax is in it."""

    price_minor: int
    tax_included: bool


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices that were found, and the log's revision and time when they were read.

    `offers_revision` is the revision of the last change to any campaign or promotion.
    """

    found: dict[str, ListPrice]
    now: datetime
    revision: int
    offers_revision: int


LAST_OFFERS_CHANGE = """
    greatest((SELECT revision FROM campaign ORDER BY revision DESC LIMIT 1),
             (SELECT revision FROM promotion ORDER BY revision DESC LIMIT 1), 0)"""
_PRICES_SQL = text(f"""
    SELECT head.revision, head.now, {LAST_OFFERS_CHANGE}, wanted.sku, valid.price_minor, valid.tax_included
    FROM (SELECT revision, greatest(CAST(:now AS timestamptz), record_time) AS now FROM log_head) AS head
         CROSS JOIN unnest(CAST(:skus AS text[])) AS wanted (sku)
         LEFT JOIN LATERAL (
            SELECT price_minor, tax_included
            FROM (VALUES (1, :channel), (2, '')) AS list (place, channel), LATERAL (
                SELECT price_minor, tax_included FROM price
                WHERE sku = wanted.sku AND channel = list.channel AND currency = :currency AND valid_from <= head.now
                ORDER BY valid_from DESC LIMIT 1
            ) AS newest
            ORDER BY place LIMIT 1
         ) AS valid ON true""")
"""The channel's own price goes before the one for all channels, and then the later one."""


async def read_prices(
    engine: AsyncEngine, skus: Iterable[str], *, channel: str, currency: str, now: datetime
) -> Prices:
    """The price of each SKU (at least one) that is valid now, in the writer's sense of now.

    Raises:
        Unavailable
    """
    parameters = {"skus": sorted(set(skus)), "channel": channel, "currency": currency, "now": now}
    rows = await read(engine, _PRICES_SQL, parameters)
    revision, then, offers_revision = rows[0][:3]
    found = {sku: ListPrice(minor, included) for _, _, _, sku, minor, included in rows if minor is not None}
    return Prices(found, then, revision, offers_revision)


class RunningPromotion(NamedTuple):
    """A promotion and its campaign, which had not ended when they were read."""

    promotion: Promotion
    campaign: Campaign


@dataclass(frozen=True, slots=True)
class RunningPromotions:
    """The promotions that every cart may get, in no order, and the revision of the last change to any."""

    revision: int
    promotions: list[RunningPromotion]


_RUNNING_SQL = text(f"""
    SELECT {LAST_OFFERS_CHANGE}, {PROMOTION_COLUMNS}, {CAMPAIGN_COLUMNS}
    FROM (SELECT) AS once
         LEFT JOIN (campaign AS c JOIN promotion AS p USING (campaign_id))
              ON (c.end_time IS NULL OR c.end_time > :now) AND NOT p.needs_coupon""")
_PROMOTION_WIDTH = 13


async def read_running(engine: AsyncEngine, *, now: datetime) -> RunningPromotions:
    """The promotions that need no coupon, of campaigns that have not ended; `PROMOTIONS_MAX` bounds them.

    Raises:
        Unavailable
    """
    rows = await read(engine, _RUNNING_SQL, {"now": now})
    return RunningPromotions(rows[0][0], [_running_of(row[1:]) for row in rows if row[1] is not None])


def _running_of(row: Sequence[Any]) -> RunningPromotion:
    return RunningPromotion(promotion_of(row[:_PROMOTION_WIDTH]), Campaign(*row[_PROMOTION_WIDTH:]))


_COUPONS_SQL = text(f"""
    SELECT {COUPON_COLUMNS}, {PROMOTION_COLUMNS}, {CAMPAIGN_COLUMNS}
    FROM coupon AS u JOIN promotion AS p USING (promotion_id) JOIN campaign AS c ON c.campaign_id = p.campaign_id
    WHERE u.code = ANY(CAST(:codes AS text[]))""")
_COUPON_WIDTH = 6


async def read_coupons(engine: AsyncEngine, codes: Sequence[str]) -> dict[str, tuple[Coupon, RunningPromotion]]:
    """The coupons that there are, by code in capitals, with what they unlock; its campaign may not run.

    Raises:
        Unavailable
    """
    if not codes:
        return {}
    rows = await read(engine, _COUPONS_SQL, {"codes": list(codes)})
    return {row[0]: (coupon_of(row), _running_of(row[_COUPON_WIDTH:])) for row in rows}


LAPSED = """
    (SELECT count(*) FROM redemption_offer AS o
     WHERE o.promotion_id = counter.promotion_id AND o.held_until <= head.now
       AND counter.coupon_code IN ('', o.coupon_code) AND counter.profile_id IN ('', o.profile_id))"""
"""Holds that have lapsed and are still in `counter`."""
_COUNTERS_SQL = text(f"""
    SELECT promotion_id, coupon_code, profile_id, held - {LAPSED}, committed, redemptions_max, counter.revision
    FROM (SELECT greatest(CAST(:now AS timestamptz), record_time) AS now FROM log_head) AS head,
         unnest(CAST(:promotions AS text[]), CAST(:codes AS text[]), CAST(:profiles AS text[]))
            AS wanted (promotion_id, coupon_code, profile_id)
         JOIN counter USING (promotion_id, coupon_code, profile_id)""")


async def read_counters(engine: AsyncEngine, keys: Sequence[CounterKey], *, now: datetime) -> dict[CounterKey, Counter]:
    """The counters as they are now; none for what was never counted.

    Raises:
        Unavailable
    """
    if not keys:
        return {}
    parameters = {
        "promotions": [key.promotion_id for key in keys],
        "codes": [key.coupon_code for key in keys],
        "profiles": [key.profile_id for key in keys],
        "now": now,
    }
    return {
        CounterKey(*row[:3]): Counter(Counts(row[3], row[4]), row[5], row[6])
        for row in await read(engine, _COUNTERS_SQL, parameters)
    }
