"""What a batch reads before it decides.

Runs on the kernel's connection in pipeline mode, inside its transaction, with the log's head locked: nobody else writes
these tables meanwhile, so nothing here locks a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

from psycopg import AsyncCursor

from meshkit.core.money import Money
from meshkit.log.limits import LAPSING_LINES_MAX, LAPSING_MAX
from meshkit.log.model import Writer
from promo_svc.domain.campaigns import (
    AmountOff,
    Campaign,
    Coupon,
    CreateCampaign,
    CreateCoupons,
    CreatePromotion,
    EndCampaign,
    Limit,
    PercentOff,
    Promotion,
)
from promo_svc.domain.counters import Counter, CounterKey, Counts, Offer
from promo_svc.domain.decide import Body, WorkingSet
from promo_svc.domain.prices import Price, PriceKey, UpsertPrices
from promo_svc.domain.redemptions import Commit, Expire, Hold, Redemption, Release, Reverse, State

_PRICES_SQL = """
    SELECT price.sku, price.channel, price.currency, price.valid_from, price.price_minor, price.tax_included
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[]) AS named (sku, channel, currency, valid_from)
         JOIN price USING (sku, channel, currency, valid_from)"""
CAMPAIGN_COLUMNS = "c.campaign_id, c.name, c.start_time, c.end_time, c.create_time, c.revision"
_CAMPAIGNS_SQL = f"""
    SELECT {CAMPAIGN_COLUMNS}
    FROM campaign AS c JOIN (
        SELECT unnest(%b::text[]) AS campaign_id
        UNION SELECT campaign_id FROM promotion WHERE promotion_id = ANY(%b::text[])
    ) AS named USING (campaign_id)"""
"""The campaigns that commands name, and those of the promotions that they name."""
PROMOTION_COLUMNS = """
    p.promotion_id, p.campaign_id, p.name, p.condition, p.selector, p.percent_off_basis_points, p.amount_off_minor,
    p.amount_off_currency, p.total_max, p.per_profile_max, p.needs_coupon, p.priority, p.revision"""
_PROMOTIONS_SQL = f"SELECT {PROMOTION_COLUMNS} FROM promotion AS p WHERE p.promotion_id = ANY(%b::text[])"
COUPON_COLUMNS = "u.code, u.promotion_id, u.campaign_id, u.total_max, u.per_profile_max, u.revision"
_COUPONS_SQL = f"SELECT {COUPON_COLUMNS} FROM coupon AS u WHERE u.code = ANY(%b::text[])"
_NAMED = """
    WITH named AS (
        SELECT promotion_id, coupon_code, profile_id
        FROM unnest(%b::text[], %b::text[], %b::text[]) AS named (promotion_id, coupon_code, profile_id)
        UNION
        SELECT promotion_id, coupon_code, profile_id FROM redemption_offer WHERE redemption_id = ANY(%b::text[])
    )"""
"""The uses of offers that a batch needs: those that its commands name, and those of the redemptions that they name."""
_COUNTERS_SQL = f"""{_NAMED}, wanted AS (
        SELECT promotion_id, '' AS coupon_code, '' AS profile_id FROM named
        UNION SELECT promotion_id, '', profile_id FROM named
        UNION SELECT promotion_id, coupon_code, '' FROM named
        UNION SELECT promotion_id, coupon_code, profile_id FROM named
    )
    SELECT promotion_id, coupon_code, profile_id, held, committed, redemptions_max, revision
    FROM wanted JOIN counter USING (promotion_id, coupon_code, profile_id)"""
REDEMPTION_COLUMNS = """
    r.redemption_id, r.client_id, r.profile_id, r.state, r.create_time, r.expire_time, r.order_reference, r.revision,
    o.promotion_id, o.coupon_code"""
_EXPIRE_TIME = 5
_REDEMPTIONS_SQL = f"""
    SELECT {REDEMPTION_COLUMNS}
    FROM redemption AS r JOIN redemption_offer AS o USING (redemption_id)
    WHERE r.redemption_id = ANY(%b::text[])
    ORDER BY r.redemption_id, o.position"""
_LAPSING_SQL = f"""{_NAMED}, lapsing AS (
        SELECT held.redemption_id, held.held_until
        FROM (SELECT DISTINCT promotion_id FROM named) AS touched JOIN redemption_offer AS held USING (promotion_id)
        WHERE held.held_until <= %b
        GROUP BY held.redemption_id, held.held_until
        ORDER BY held.held_until, held.redemption_id LIMIT {LAPSING_MAX}
    ), counted AS (
        SELECT redemption_id, sum(lines) OVER (ORDER BY held_until, redemption_id) - lines AS lines_before
        FROM lapsing CROSS JOIN LATERAL (
            SELECT count(*) AS lines FROM redemption_offer AS o WHERE o.redemption_id = lapsing.redemption_id
        ) AS own
    )
    SELECT {REDEMPTION_COLUMNS}
    FROM counted JOIN redemption AS r USING (redemption_id) JOIN redemption_offer AS o USING (redemption_id)
    WHERE counted.lines_before < {LAPSING_LINES_MAX}
    ORDER BY r.redemption_id, o.position"""

_Rows = Sequence[tuple[Any, ...]]
_Use = tuple[str, str, str]
"""(promotion_id, coupon_code, profile_id)."""


async def load(connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> WorkingSet:
    """The rows that the bodies name, and the holds on the same promotions that lapse by `horizon`, with their counters.

    One round trip, and one more where redemptions lead to further counters. Holds that lapse on those only are nobody's
    question: no command of this batch decides there. For the same reason none is looked for where the only command is
    to expire a hold.
    """
    state = WorkingSet()
    named = _Named.of(bodies)
    reading = _Reading(connection, state)
    if named.prices:
        keys = sorted(named.prices)
        await reading.queue(_PRICES_SQL, [list(column) for column in zip(*keys, strict=True)], _take_prices)
    if named.campaign_ids or named.promotion_ids:
        parameters = [sorted(named.campaign_ids), sorted(named.promotion_ids)]
        await reading.queue(_CAMPAIGNS_SQL, parameters, _take_campaigns)
    if named.promotion_ids:
        await reading.queue(_PROMOTIONS_SQL, [sorted(named.promotion_ids)], _take_promotions)
    if named.codes:
        await reading.queue(_COUPONS_SQL, [sorted(named.codes)], _take_coupons)
    ids, expiring_ids = sorted(named.redemption_ids), sorted(named.expiring_ids)
    columns = _columns(named.uses)
    if ids or expiring_ids:
        await reading.queue(_REDEMPTIONS_SQL, [ids + expiring_ids], _take_redemptions)
    if named.uses or ids or expiring_ids:
        await reading.queue(_COUNTERS_SQL, [*columns, ids + expiring_ids], _take_counters)
    if named.uses or ids:
        await reading.queue(_LAPSING_SQL, [*columns, ids, horizon], _take_lapsing)
    await reading.receive()
    # What was named by redemption is asked for once more, by use: only then is it known which those are.
    uses = {(*offer, each.profile_id) for each in state.redemptions.values() for offer in each.offers} - named.uses
    if uses:
        await reading.queue(_COUNTERS_SQL, [*_columns(uses), []], _take_counters)
        await reading.receive()
    return state


def _columns(uses: Iterable[_Use]) -> list[list[str]]:
    return [[use[column] for use in sorted(uses)] for column in range(3)]


@dataclass(slots=True)
class _Reading:
    """Statements on their way: queued first, then answered in one round trip."""

    connection: Writer
    state: WorkingSet
    queued: list[tuple[AsyncCursor[tuple[Any, ...]], Callable[[WorkingSet, _Rows], None]]] = field(default_factory=list)

    async def queue(
        self, sql: LiteralString, parameters: Sequence[object], take: Callable[[WorkingSet, _Rows], None]
    ) -> None:
        self.queued.append((await self.connection.execute(sql, parameters, binary=True), take))

    async def receive(self) -> None:
        for cursor, take in self.queued:
            take(self.state, await cursor.fetchall())
        self.queued.clear()


@dataclass(slots=True)
class _Named:
    """What the commands of a batch name."""

    prices: set[PriceKey] = field(default_factory=set)
    campaign_ids: set[str] = field(default_factory=set)
    promotion_ids: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    uses: set[_Use] = field(default_factory=set)
    redemption_ids: set[str] = field(default_factory=set)
    expiring_ids: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, bodies: Iterable[Body]) -> _Named:  # noqa: C901 — a table, one row a command
        named = cls()
        for body in bodies:
            match body:
                case UpsertPrices():
                    named.prices.update([price.key for price in body.prices])
                case CreateCampaign() | EndCampaign():
                    named.campaign_ids.add(body.campaign_id)
                case CreatePromotion():
                    named.campaign_ids.add(body.promotion.campaign_id)
                    named.promotion_ids.add(body.promotion.promotion_id)
                case CreateCoupons():
                    named.promotion_ids.add(body.promotion_id)
                    named.codes.update(body.codes)
                case Hold():
                    named.redemption_ids.add(body.redemption_id)
                    for offer in body.offers:
                        named.promotion_ids.add(offer.promotion_id)
                        named.uses.add((*offer, body.profile_id))
                        if offer.coupon_code:
                            named.codes.add(offer.coupon_code)
                case Commit() | Release() | Reverse():
                    named.redemption_ids.add(body.redemption_id)
                case Expire():
                    named.expiring_ids.add(body.redemption_id)
        return named


def _take_prices(state: WorkingSet, rows: _Rows) -> None:
    for row in rows:
        key = PriceKey(*row[:4])
        state.prices[key] = Price(key, row[4], row[5])


def _take_campaigns(state: WorkingSet, rows: _Rows) -> None:
    state.campaigns.update((row[0], Campaign(*row)) for row in rows)


def _take_promotions(state: WorkingSet, rows: _Rows) -> None:
    state.promotions.update((row[0], promotion_of(row)) for row in rows)


def _take_coupons(state: WorkingSet, rows: _Rows) -> None:
    state.coupons.update((row[0], coupon_of(row)) for row in rows)


def _take_counters(state: WorkingSet, rows: _Rows) -> None:
    for row in rows:
        state.counters[CounterKey(*row[:3])] = Counter(Counts(*row[3:5]), row[5], row[6])


def _take_lapsing(state: WorkingSet, rows: _Rows) -> None:
    _take_redemptions(state, rows)
    if len(rows) >= LAPSING_LINES_MAX or len({row[0] for row in rows}) == LAPSING_MAX:
        state.lapsing_until = max(row[_EXPIRE_TIME] for row in rows)


def _take_redemptions(state: WorkingSet, rows: _Rows) -> None:
    state.redemptions.update((each.redemption_id, each) for each in redemptions_of(rows))


def promotion_of(row: Sequence[Any]) -> Promotion:
    """A promotion from a row of `PROMOTION_COLUMNS`."""
    promotion_id, campaign_id, name, condition, selector, basis_points, minor, currency = row[:8]
    total, per_profile, needs_coupon, priority, revision = row[8:13]
    return Promotion(
        promotion_id=promotion_id,
        campaign_id=campaign_id,
        name=name,
        condition=condition,
        selector=selector,
        benefit=PercentOff(basis_points) if minor is None else AmountOff(Money(minor, currency)),
        limit=Limit(total, per_profile),
        needs_coupon=needs_coupon,
        priority=priority,
        revision=revision,
    )


def coupon_of(row: Sequence[Any]) -> Coupon:
    """A coupon from a row of `COUPON_COLUMNS`."""
    code, promotion_id, campaign_id, total, per_profile, revision = row[:6]
    return Coupon(code, promotion_id, campaign_id, Limit(total, per_profile), revision)


def redemptions_of(rows: Iterable[Sequence[Any]]) -> list[Redemption]:
    """Redemptions from rows of `REDEMPTION_COLUMNS`, one an offer, those of one redemption next to each other."""
    found = []
    for _, group in groupby(rows, key=itemgetter(0)):
        offers = list(group)
        redemption_id, client_id, profile_id, state, create_time, expire_time, order_reference, revision = offers[0][:8]
        found.append(
            Redemption(
                redemption_id=redemption_id,
                client_id=client_id,
                profile_id=profile_id,
                state=State(state),
                offers=tuple(Offer(row[8], row[9]) for row in offers),
                create_time=create_time,
                expire_time=expire_time,
                order_reference=order_reference,
                revision=revision,
            )
        )
    return found
