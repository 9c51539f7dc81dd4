"""How often an offer is used: altogether, by each profile, and the same for each of its coupon codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from promo_svc.domain.campaigns import Coupon, Promotion

OFFERS_MAX: Final = 100
"""Offers that one cart gets, and that one redemption holds. The contract says it too (`HoldRedemptionRequest.offers`):
what a cart is priced with must be possible to hold."""


class Offer(NamedTuple):
    """One use of a promotion; `coupon_code`, in capitals, is empty where it needs none."""

    promotion_id: str
    coupon_code: str = ""


class CounterKey(NamedTuple):
    """What is counted: all redemptions of a promotion, or only those by one code, by one profile, or by both."""

    promotion_id: str
    coupon_code: str = ""
    profile_id: str = ""


class Counts(NamedTuple):
    """Redemptions that are held now, and that are committed and not reversed."""

    held: int = 0
    committed: int = 0

    @property
    def used(self) -> int:
        """What counts against a limit."""
        return self.held + self.committed


class Counter(NamedTuple):
    """The counts, the limit that they must keep to (0 is none), and the revision that last changed them."""

    counts: Counts
    redemptions_max: int
    revision: int


Counters = Mapping[CounterKey, Counter]


class Which(Enum):
    """Which limit of an offer."""

    TOTAL = "total"
    PER_PROFILE = "per_profile"
    COUPON_TOTAL = "coupon_total"
    COUPON_PER_PROFILE = "coupon_per_profile"

    @property
    def of_profile(self) -> bool:
        """Whether it counts one profile's redemptions only."""
        return self in {Which.PER_PROFILE, Which.COUPON_PER_PROFILE}


NOTHING = Counts()


def counts(counters: Counters, key: CounterKey) -> Counts:
    """The counts; zeros where nothing was counted yet."""
    found = counters.get(key)
    return found.counts if found else NOTHING


def keys_of(offer: Offer, profile_id: str) -> list[CounterKey]:
    """Everything that one use of the offer counts for."""
    promotion_id, code = offer
    keys = [CounterKey(promotion_id)]
    if profile_id:
        keys.append(CounterKey(promotion_id, "", profile_id))
    if code:
        keys.append(CounterKey(promotion_id, code))
        if profile_id:
            keys.append(CounterKey(promotion_id, code, profile_id))
    return keys


def limit_of(key: CounterKey, promotion: Promotion, coupon: Coupon | None) -> int:
    """The limit of what is counted; 0 is none."""
    limit = coupon.limit if key.coupon_code and coupon is not None else promotion.limit
    return limit.per_profile if key.profile_id else limit.total


def used_up(counters: Counters, promotion: Promotion, coupon: Coupon | None, profile_id: str) -> Which | None:
    """Which limit keeps the profile (empty: a guest) from using the offer once more; None if none does.

    What is used up for everybody goes before what is used up for one. A guest cannot use what each profile may use only
    so often: nobody could count it.
    """
    limits = [(Which.TOTAL, promotion.limit.total, CounterKey(promotion.promotion_id))]
    each = [(Which.PER_PROFILE, promotion.limit.per_profile, CounterKey(promotion.promotion_id, "", profile_id))]
    if coupon is not None:
        key = CounterKey(promotion.promotion_id, coupon.code)
        limits.append((Which.COUPON_TOTAL, coupon.limit.total, key))
        each.append((Which.COUPON_PER_PROFILE, coupon.limit.per_profile, key._replace(profile_id=profile_id)))
    for which, limit, key in (*limits, *each):
        if limit and ((which.of_profile and not profile_id) or counts(counters, key).used >= limit):
            return which
    return None
