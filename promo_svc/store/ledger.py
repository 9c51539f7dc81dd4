"""Do the projections say what the log says? Read by pages, each one statement, so that both sides are of one moment."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Page, Position, next_position, read_page, unless_equal
from meshkit.log.verify import Problem
from promo_svc.domain.counters import CounterKey
from promo_svc.domain.prices import ALWAYS, PriceKey
from promo_svc.store.keys import counter_key, price_key

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


def _nouns_sql(table: str, column: str, key: str) -> str:
    return f"""
        SELECT noun.{column}, {key}, noun.revision, event.revision
        FROM (SELECT * FROM {table} WHERE {column} > :{column} ORDER BY {column} LIMIT :rows) AS noun
             LEFT JOIN LATERAL (
                SELECT revision FROM log_event WHERE key = {key} ORDER BY revision DESC, index DESC LIMIT 1
             ) AS event ON true
        ORDER BY noun.{column}"""


_CAMPAIGNS_SQL = text(_nouns_sql("campaign", "campaign_id", "'campaign' || chr(31) || noun.campaign_id"))
_PROMOTIONS_SQL = text(_nouns_sql("promotion", "promotion_id", "'promotion' || chr(31) || noun.promotion_id"))
_COUPONS_SQL = text(_nouns_sql("coupon", "code", "'coupon' || chr(31) || noun.promotion_id || chr(31) || noun.code"))


async def check_campaigns(engine: AsyncEngine, after: Position) -> Page:
    """Campaigns against their last events."""
    rows = await read_page(engine, _CAMPAIGNS_SQL, after or {"campaign_id": ""})
    return _nouns("campaign", [tuple(row) for row in rows], next_position(rows, "campaign_id"))


async def check_promotions(engine: AsyncEngine, after: Position) -> Page:
    """Promotions against the events that made them."""
    rows = await read_page(engine, _PROMOTIONS_SQL, after or {"promotion_id": ""})
    return _nouns("promotion", [tuple(row) for row in rows], next_position(rows, "promotion_id"))


async def check_coupons(engine: AsyncEngine, after: Position) -> Page:
    """Coupons against the events that made them."""
    rows = await read_page(engine, _COUPONS_SQL, after or {"code": ""})
    return _nouns("coupon", [tuple(row) for row in rows], next_position(rows, "code"))


def _nouns(noun: str, rows: list[tuple[str, str, int, int]], following: Position) -> Page:
    rule = f"a {noun} has the revision of its last event"
    problems = [
        problem
        for name, _, revision, changed in rows
        for problem in unless_equal(rule, f"{noun} {name}", changed, revision)
    ]
    return Page(problems, len(rows), frozenset(row[1] for row in rows), following)


_REDEMPTIONS_SQL = text("""
    SELECT page.redemption_id, page.state, count(offer.redemption_id),
           count(*) FILTER (WHERE offer.held_until IS DISTINCT FROM
                                  CASE WHEN page.state = 'held' THEN page.expire_time END
                               OR offer.committed <> (page.state = 'committed')
                               OR offer.profile_id <> page.profile_id)
    FROM (SELECT * FROM redemption WHERE redemption_id > :redemption_id ORDER BY redemption_id LIMIT :rows) AS page
         LEFT JOIN redemption_offer AS offer USING (redemption_id)
    GROUP BY page.redemption_id, page.state
    ORDER BY page.redemption_id""")


async def check_redemptions(engine: AsyncEngine, after: Position) -> Page:
    """Redemptions against their offers: held or committed as the state says."""
    rows = await read_page(engine, _REDEMPTIONS_SQL, after or {"redemption_id": ""})
    problems: list[Problem] = []
    for redemption_id, state, offers, wrong in rows:
        subject = f"redemption {redemption_id} ({state})"
        if not offers:
            problems.append(Problem("a redemption has offers", subject, "at least one", "none"))
        else:
            problems += unless_equal("offers count as their redemption's state says", subject, 0, wrong)
    return Page(problems, len(rows), frozenset(), next_position(rows, "redemption_id"))


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


CHECKS = (
    check_counters,
    check_prices,
    check_campaigns,
    check_promotions,
    check_coupons,
    check_redemptions,
    check_offers,
)
"""All of them, in the order in which an audit reports."""
