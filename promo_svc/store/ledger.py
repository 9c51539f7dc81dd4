"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import Message
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Check, Page, Position, next_position, read_page, unless_equal, unless_said
from meshkit.log.verify import Problem
from promo_svc.domain.campaigns import Campaign, Coupon, Promotion
from promo_svc.domain.counters import CounterKey, Offer
from promo_svc.domain.prices import ALWAYS, PriceKey
from promo_svc.domain.redemptions import Redemption, State
from promo_svc.store.keys import counter_key, price_key, redemption_key
from promo_svc.store.working_set import (
    CAMPAIGN_COLUMNS,
    COUPON_COLUMNS,
    PROMOTION_COLUMNS,
    coupon_of,
    promotion_of,
)

MessageOf = Callable[[Campaign | Promotion | Coupon | Redemption], Message]
"""A noun as the payload of its event has it."""

# Each kind of counter is an arm of its own, with an index of its own: one condition for all would read every redemption
# of a promotion for each of its profiles. That an id is not empty is said of the offer too: the planner looks there.
COUNTERS_SQL = text("""
    SELECT counter.promotion_id, counter.coupon_code, counter.profile_id, ARRAY[counter.held, counter.committed],
           counter.revision, counter.redemptions_max, event.balances, event.revision, used.held, used.committed,
           CASE WHEN counter.coupon_code = '' AND counter.profile_id = '' THEN promotion.total_max
                WHEN counter.coupon_code = '' THEN promotion.per_profile_max
                WHEN counter.profile_id = '' THEN coupon.total_max ELSE coupon.per_profile_max END
    FROM (SELECT * FROM counter
          WHERE (promotion_id, coupon_code, profile_id) > (:promotion_id, :coupon_code, :profile_id)
          ORDER BY promotion_id, coupon_code, profile_id LIMIT :rows) AS counter
         LEFT JOIN promotion USING (promotion_id)
         LEFT JOIN coupon ON coupon.code = counter.coupon_code
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event
            WHERE key = 'counter' || chr(31) || counter.promotion_id || chr(31) || counter.coupon_code
                        || chr(31) || counter.profile_id
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
         LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE held_until IS NOT NULL) AS held,
                   count(*) FILTER (WHERE committed) AS committed
            FROM (
                SELECT held_until, committed FROM redemption_offer AS o
                WHERE counter.coupon_code = '' AND counter.profile_id = '' AND o.promotion_id = counter.promotion_id
                UNION ALL
                SELECT held_until, committed FROM redemption_offer AS o
                WHERE counter.coupon_code <> '' AND counter.profile_id = '' AND o.promotion_id = counter.promotion_id
                  AND o.coupon_code = counter.coupon_code AND o.coupon_code <> ''
                UNION ALL
                SELECT held_until, committed FROM redemption_offer AS o
                WHERE counter.profile_id <> '' AND counter.coupon_code IN ('', o.coupon_code)
                  AND o.promotion_id = counter.promotion_id
                  AND o.profile_id = counter.profile_id AND o.profile_id <> ''
            ) AS counted
         ) AS used ON true
    ORDER BY counter.promotion_id, counter.coupon_code, counter.profile_id""")


async def check_counters(engine: AsyncEngine, after: Position) -> Page:
    """Counters against their last events, against the offers of redemptions (P3), and their limits against offers."""
    start: Position = {"promotion_id": "", "coupon_code": "", "profile_id": ""}
    rows = await read_page(engine, COUNTERS_SQL, after or start)
    problems: list[Problem] = []
    for promotion_id, code, profile_id, stored, revision, limit, balances, changed, held, committed, said in rows:
        subject = f"counter of promotion {promotion_id}" + (f" code {code}" if code else "")
        subject += f" profile {profile_id}" if profile_id else ""
        problems += unless_equal("a counter is the balance of its last event", subject, balances, stored)
        problems += unless_equal("a counter has the revision of its last event", subject, changed, revision)
        problems += unless_equal("held is the number of held offers", subject, held, stored[0])
        problems += unless_equal("committed is the number of committed offers", subject, committed, stored[1])
        problems += unless_equal("a counter has the limit of its offer", subject, said, limit)
    keys = frozenset(counter_key(CounterKey(*row[:3])) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "promotion_id", "coupon_code", "profile_id"))


_PRICES_SQL = text("""
    SELECT price.sku, price.channel, price.currency, price.valid_from,
           ARRAY[price.price_minor, price.tax_included::int], price.revision, event.balances, event.revision
    FROM (SELECT * FROM price
          WHERE (sku, channel, currency, valid_from) > (:sku, :channel, :currency, :valid_from)
          ORDER BY sku, channel, currency, valid_from LIMIT :rows) AS price
         LEFT JOIN LATERAL (
            SELECT balances, revision FROM log_event
            WHERE key = 'price' || chr(31) || price.sku || chr(31) || price.channel || chr(31) || price.currency
                        || chr(31) || to_char(price.valid_from, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            ORDER BY revision DESC, index DESC LIMIT 1
         ) AS event ON true
    ORDER BY price.sku, price.channel, price.currency, price.valid_from""")


async def check_prices(engine: AsyncEngine, after: Position) -> Page:
    """Prices against their last events."""
    start: Position = {"sku": "", "channel": "", "currency": "", "valid_from": ALWAYS}
    rows = await read_page(engine, _PRICES_SQL, after or start)
    problems: list[Problem] = []
    for sku, channel, currency, valid_from, stored, revision, balances, changed in rows:
        subject = f"price of {sku}" + (f" in {channel}" if channel else "") + f" in {currency} from {valid_from}"
        problems += unless_equal("a price is what its last event says", subject, balances, stored)
        problems += unless_equal("a price has the revision of its last event", subject, changed, revision)
    keys = frozenset(price_key(PriceKey(*row[:4])) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "sku", "channel", "currency", "valid_from"))


def _nouns_sql(table: str, alias: str, columns: str, column: str, key: str) -> TextClause:
    return text(f"""
        SELECT {columns}, {key}, event.revision, event.payload
        FROM (SELECT * FROM {table} WHERE {column} > :{column} ORDER BY {column} LIMIT :rows) AS {alias}
             LEFT JOIN LATERAL (
                SELECT revision, payload FROM log_event WHERE key = {key} ORDER BY revision DESC, index DESC LIMIT 1
             ) AS event ON true
        ORDER BY {alias}.{column}""")


_CAMPAIGNS_SQL = _nouns_sql("campaign", "c", CAMPAIGN_COLUMNS, "campaign_id", "'campaign' || chr(31) || c.campaign_id")
_PROMOTIONS_SQL = _nouns_sql(
    "promotion", "p", PROMOTION_COLUMNS, "promotion_id", "'promotion' || chr(31) || p.promotion_id"
)
_COUPONS_SQL = _nouns_sql(
    "coupon", "u", COUPON_COLUMNS, "code", "'coupon' || chr(31) || u.promotion_id || chr(31) || u.code"
)


async def check_campaigns(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Campaigns against their last events."""
    rows = await read_page(engine, _CAMPAIGNS_SQL, after or {"campaign_id": ""})
    found = [_Noun(row[0], Campaign(*row[:-3]), *row[-4:]) for row in rows]
    return _nouns("campaign", found, message_of, next_position(rows, "campaign_id"))


async def check_promotions(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Promotions against the events that made them."""
    rows = await read_page(engine, _PROMOTIONS_SQL, after or {"promotion_id": ""})
    found = [_Noun(row[0], promotion_of(row), *row[-4:]) for row in rows]
    return _nouns("promotion", found, message_of, next_position(rows, "promotion_id"))


async def check_coupons(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Coupons against the events that made them."""
    rows = await read_page(engine, _COUPONS_SQL, after or {"code": ""})
    found = [_Noun(row[0], coupon_of(row), *row[-4:]) for row in rows]
    return _nouns("coupon", found, message_of, next_position(rows, "code"))


class _Noun(NamedTuple):
    """What a row says and its revision, its key in the log, and the revision and payload of its last event there."""

    name: str
    stored: Campaign | Promotion | Coupon
    revision: int
    key: str
    changed: int | None
    payload: bytes | None


def _nouns(noun: str, found: list[_Noun], message_of: MessageOf, following: Position) -> Page:
    problems: list[Problem] = []
    for each in found:
        subject = f"{noun} {each.name}"
        problems += unless_equal(f"a {noun} has the revision of its last event", subject, each.changed, each.revision)
        if each.payload is not None:
            rule = f"a {noun} is what its last event says"
            problems += unless_said(rule, subject, each.payload, message_of(each.stored))
    return Page(problems, len(found), frozenset(each.key for each in found), following)


# One command has one revision, so its events are of one redemption; those of counters of all codes and profiles are one
# an offer, in the order of the offers.
_REDEMPTIONS_SQL = text("""
    SELECT page.redemption_id, page.client_id, page.profile_id, page.state, page.create_time, page.expire_time,
           page.order_reference, page.revision, offers.used, offers.wrong, events.payloads
    FROM (SELECT * FROM redemption WHERE redemption_id > :redemption_id ORDER BY redemption_id LIMIT :rows) AS page
         LEFT JOIN LATERAL (
            SELECT array_agg(ARRAY[offer.promotion_id, offer.coupon_code] ORDER BY position) AS used,
                   count(*) FILTER (WHERE offer.held_until IS DISTINCT FROM
                                          CASE WHEN page.state = 'held' THEN page.expire_time END
                                       OR offer.committed <> (page.state = 'committed')
                                       OR offer.profile_id <> page.profile_id) AS wrong
            FROM redemption_offer AS offer WHERE offer.redemption_id = page.redemption_id
         ) AS offers ON true
         LEFT JOIN LATERAL (
            SELECT array_agg(payload ORDER BY index) AS payloads FROM log_event
            WHERE log_event.revision = page.revision AND right(key, 2) = chr(31) || chr(31)
         ) AS events ON true
    ORDER BY page.redemption_id""")


async def check_redemptions(message_of: MessageOf, engine: AsyncEngine, after: Position) -> Page:
    """Redemptions against the events of their revision, and against their offers: counted as the state says."""
    rows = await read_page(engine, _REDEMPTIONS_SQL, after or {"redemption_id": ""})
    problems: list[Problem] = []
    for *columns, used, wrong, payloads in rows:
        redemption = _redemption_of(columns, [Offer(*each) for each in used or ()])
        subject = f"redemption {redemption.redemption_id} ({redemption.state.value})"
        if not used:
            problems.append(Problem("a redemption has offers", subject, "at least one", "none"))
        else:
            problems += unless_equal("offers count as their redemption's state says", subject, 0, wrong)
        rule = "a redemption is what the events of its revision say"
        # Joined, payloads are read as one message: its lists are those of all, each other field is the last one's.
        problems += unless_said(rule, subject, b"".join(payloads or ()), message_of(redemption))
    keys = frozenset(redemption_key(row[0]) for row in rows)
    return Page(problems, len(rows), keys, next_position(rows, "redemption_id"))


def _redemption_of(columns: Sequence[Any], offers: Sequence[Offer]) -> Redemption:
    redemption_id, client_id, profile_id, state, create_time, expire_time, order_reference, revision = columns
    return Redemption(
        redemption_id=redemption_id,
        client_id=client_id,
        profile_id=profile_id,
        state=State(state),
        offers=tuple(offers),
        create_time=create_time,
        expire_time=expire_time,
        order_reference=order_reference,
        revision=revision,
    )


_OFFERS_SQL = text("""
    SELECT page.redemption_id, page.promotion_id, redemption.redemption_id IS NOT NULL, counter.promotion_id IS NOT NULL
    FROM (SELECT * FROM redemption_offer WHERE (redemption_id, promotion_id) > (:redemption_id, :promotion_id)
          ORDER BY redemption_id, promotion_id LIMIT :rows) AS page
         LEFT JOIN redemption USING (redemption_id)
         LEFT JOIN counter ON counter.promotion_id = page.promotion_id
                          AND counter.coupon_code = page.coupon_code AND counter.profile_id = page.profile_id
    ORDER BY page.redemption_id, page.promotion_id""")


async def check_offers(engine: AsyncEngine, after: Position) -> Page:
    """Offers against redemptions and counters: one without would count for ever, or never."""
    rows = await read_page(engine, _OFFERS_SQL, after or {"redemption_id": "", "promotion_id": ""})
    problems: list[Problem] = []
    for redemption_id, promotion_id, belongs, is_counted in rows:
        subject = f"redemption {redemption_id} offer {promotion_id}"
        if not belongs:
            problems.append(Problem("an offer belongs to a redemption", subject, "one", "none"))
        if not is_counted:
            problems.append(Problem("an offer is counted", subject, "a counter", "none"))
    return Page(problems, len(rows), frozenset(), next_position(rows, "redemption_id", "promotion_id"))


def checks(message_of: MessageOf) -> list[Check]:
    """All of them, in the order in which an audit reports."""
    return [
        check_counters,
        check_prices,
        partial(check_campaigns, message_of),
        partial(check_promotions, message_of),
        partial(check_coupons, message_of),
        partial(check_redemptions, message_of),
        check_offers,
    ]
