"""How the log names what an event changed: a noun and its codes, separated by U+001F, which no code may contain."""

from __future__ import annotations

from promo_svc.domain.counters import CounterKey
from promo_svc.domain.prices import PriceKey

SEPARATOR = "\x1f"
AFTER_SEPARATOR = "\x20"
"""The next character: the end of the range of keys that begin with a code and a separator."""
PRICE, CAMPAIGN, PROMOTION, COUPON, COUNTER = "price", "campaign", "promotion", "coupon", "counter"
REDEMPTION = "redemption"


def price_key(key: PriceKey) -> str:
    """`price␟sku␟channel␟currency␟valid_from`, the time in UTC to the microsecond."""
    valid_from = key.valid_from.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return SEPARATOR.join((PRICE, key.sku, key.channel, key.currency, valid_from))


def campaign_key(campaign_id: str) -> str:
    """`campaign␟id`."""
    return SEPARATOR.join((CAMPAIGN, campaign_id))


def promotion_key(promotion_id: str) -> str:
    """`promotion␟id`."""
    return SEPARATOR.join((PROMOTION, promotion_id))


def coupon_key(promotion_id: str, code: str) -> str:
    """`coupon␟promotion␟code`."""
    return SEPARATOR.join((COUPON, promotion_id, code))


def counter_key(key: CounterKey) -> str:
    """`counter␟promotion␟code␟profile`."""
    return SEPARATOR.join((COUNTER, *key))


def redemption_key(redemption_id: str) -> str:
    """`redemption␟id`. No event has it, as a redemption's events are those of its counters; the audit does."""
    return SEPARATOR.join((REDEMPTION, redemption_id))
