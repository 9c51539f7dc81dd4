"""Counting offers against their limits: hold, commit, release, reverse, expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.errors import InvalidRequest, listed
from promo_svc.domain.campaigns import Campaign, Coupon, Promotion, unknown_promotion
from promo_svc.domain.counters import Counter, CounterKey, Counters, Counts, Offer, counts, keys_of, limit_of, used_up
from promo_svc.errors import (
    LimitReached,
    NotRunning,
    RedemptionExpired,
    UnknownCoupon,
    UnknownRedemption,
    WrongState,
)

HOLD_MAX = timedelta(hours=24)


class State(Enum):
    """held -> committed | released | expired; committed -> reversed."""

    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"
    REVERSED = "reversed"


GIVEN_BACK = frozenset({State.RELEASED, State.EXPIRED, State.REVERSED})
"""The states in which nothing counts any more."""


@dataclass(frozen=True, slots=True)
class Redemption:
    """The offers of one cart, held and committed together. `profile_id` is empty for a guest."""

    redemption_id: str
    client_id: str
    profile_id: str
    state: State
    offers: tuple[Offer, ...]
    create_time: datetime
    expire_time: datetime
    order_reference: str = ""
    revision: int = 0

    def lapsed(self, now: datetime) -> bool:
        """Whether time has ended the hold: from `expire_time` on, to the instant."""
        return self.state is State.HELD and self.expire_time <= now


class Hold(NamedTuple):
    """Hold the offers, all or none, for `ttl` from now, or until `expire_time` where it is said."""

    redemption_id: str
    offers: tuple[Offer, ...]
    profile_id: str = ""
    ttl: timedelta = timedelta(seconds=900)
    expire_time: datetime | None = None


class Commit(NamedTuple):
    """Let the offers count for good."""

    redemption_id: str
    order_reference: str
    any_client: bool = False


class Release(NamedTuple):
    """Give the hold back. In a saga it may come without, or before, the hold that it undoes."""

    redemption_id: str
    any_client: bool = False
    in_saga: bool = False


class Reverse(NamedTuple):
    """Give back what was committed. In a saga it may come without, or before, the commit that it undoes."""

    redemption_id: str
    any_client: bool = False
    in_saga: bool = False


class Expire(NamedTuple):
    """Give the hold back because its time has come; nothing if it is not held any more."""

    redemption_id: str


class Held(NamedTuple):
    """A hold was made: its id, when it lapses, and the revision of the command."""

    redemption_id: str
    expire_time: datetime
    revision: int


class Settled(NamedTuple):
    """The redemption was committed or given back; the revision after the command."""

    redemption_id: str
    revision: int


class Counted(NamedTuple):
    """A counter went from `before` to `after` because the redemption, as it is now, uses `offer`."""

    key: CounterKey
    before: Counts
    after: Counts
    redemptions_max: int
    offer: Offer
    redemption: Redemption


Change = tuple[list[Counted], Redemption]
"""What a command does to counters, and the redemption that it leaves."""


@dataclass(frozen=True, slots=True)
class Offers:
    """What is known of the offers that commands name."""

    campaigns: Mapping[str, Campaign]
    promotions: Mapping[str, Promotion]
    coupons: Mapping[str, Coupon]


def hold(offers: Offers, counters: Counters, command: Hold, *, client_id: str, now: datetime, revision: int) -> Change:
    """Counts every offer as held, all or none.

    Raises:
        InvalidRequest: a promotion stands twice, or the hold would not last or last too long.
        UnknownPromotion, UnknownCoupon
        NotRunning, LimitReached: naming every such offer. Metadata: `offers`, a JSON array of {"promotion_id", and of
            LimitReached "coupon_code" and "limit"}.
    """
    expire_time = _expiry(command, now)
    known = _known(offers, command.offers)
    stopped = [each.promotion_id for each, _ in known if not offers.campaigns[each.campaign_id].runs(now)]
    if stopped:
        named = listed([{"promotion_id": each} for each in stopped])
        raise NotRunning(f"promotion {stopped[0]} is not running", metadata={"offers": named})
    _require_free(counters, known, command.profile_id)
    held = Redemption(
        redemption_id=command.redemption_id,
        client_id=client_id,
        profile_id=command.profile_id,
        state=State.HELD,
        offers=command.offers,
        create_time=now,
        expire_time=expire_time,
        revision=revision,
    )
    limits = {
        key: limit_of(key, promotion, coupon)
        for offer, (promotion, coupon) in zip(command.offers, known, strict=True)
        for key in keys_of(offer, command.profile_id)
    }
    return _counted(counters, held, _hold_one, limits), held


def commit(counters: Counters, redemption: Redemption, command: Commit, *, revision: int) -> Change:
    """Counts the offers as committed instead of held.

    Raises:
        RedemptionExpired, WrongState: it is not held.
    """
    if redemption.state is State.EXPIRED:
        metadata = {"redemption_id": redemption.redemption_id, "expire_time": redemption.expire_time.isoformat()}
        raise RedemptionExpired(f"redemption {redemption.redemption_id} has expired", metadata=metadata)
    if redemption.state is not State.HELD:
        raise wrong_state(redemption)
    left = replace(redemption, state=State.COMMITTED, order_reference=command.order_reference, revision=revision)
    return _counted(counters, left, _commit_one), left


def release(counters: Counters, redemption: Redemption, *, revision: int) -> Change | None:
    """Counts the held offers no more; None if they do not count anyway.

    Raises:
        WrongState: it is committed.
    """
    if redemption.state in GIVEN_BACK:
        return None
    if redemption.state is State.COMMITTED:
        raise wrong_state(redemption)
    return give_back(counters, redemption, State.RELEASED, revision=revision)


def reverse(counters: Counters, redemption: Redemption, *, in_saga: bool, revision: int) -> Change | None:
    """Counts the committed offers no more; None if they do not count anyway.

    A saga undoes a commit of which it does not know whether it has happened. If it has not, the hold is given back.

    Raises:
        WrongState: outside a saga, it was never committed.
    """
    if redemption.state is State.COMMITTED:
        left = replace(redemption, state=State.REVERSED, revision=revision)
        return _counted(counters, left, _reverse_one), left
    if redemption.state is State.REVERSED:
        return None
    if not in_saga:
        raise wrong_state(redemption)
    return release(counters, redemption, revision=revision)


def give_back(counters: Counters, redemption: Redemption, state: State, *, revision: int) -> Change:
    """Counts the offers of a hold no more, because of its caller or of time."""
    assert redemption.state is State.HELD, f"P4: {redemption.redemption_id} is {redemption.state.value}, not held"
    left = replace(redemption, state=state, revision=revision)
    return _counted(counters, left, _release_one), left


def require_own(redemption: Redemption | None, redemption_id: str, client_id: str, *, any_client: bool) -> Redemption:
    """The redemption, if the caller may know of it.

    Raises:
        UnknownRedemption: there is none, or it is another client's; the two must look the same.
    """
    if redemption is None or (redemption.client_id != client_id and not any_client):
        raise UnknownRedemption(f"unknown redemption {redemption_id}", metadata={"redemption_id": redemption_id})
    return redemption


def wrong_state(redemption: Redemption) -> WrongState:
    """The refusal for a redemption that is in another state than it would have to be in."""
    metadata = {"redemption_id": redemption.redemption_id, "state": redemption.state.value}
    return WrongState(f"redemption {redemption.redemption_id} is {redemption.state.value}", metadata=metadata)


def _expiry(command: Hold, now: datetime) -> datetime:
    expire_time = command.expire_time
    if expire_time is None:
        return now + command.ttl
    if expire_time <= now:
        raise InvalidRequest.of("expire_time", f"is past: it is {now.isoformat()}")
    if expire_time > now + HOLD_MAX + CLOCK_SKEW_MAX:
        raise InvalidRequest.of("expire_time", f"may be 24 h ahead at most: it is {now.isoformat()}")
    return expire_time


def _known(offers: Offers, wanted: Sequence[Offer]) -> list[tuple[Promotion, Coupon | None]]:
    known: dict[str, tuple[Promotion, Coupon | None]] = {}
    for index, (promotion_id, code) in enumerate(wanted):
        promotion = offers.promotions.get(promotion_id)
        if promotion is None:
            raise unknown_promotion(promotion_id)
        if promotion_id in known:
            raise InvalidRequest.of(f"offers[{index}].promotion_id", f"{promotion_id} stands twice")
        coupon = offers.coupons.get(code) if code else None
        if (coupon is None or coupon.promotion_id != promotion_id) if code else promotion.needs_coupon:
            said = f"unknown coupon {code}" if code else f"promotion {promotion_id} needs a coupon"
            raise UnknownCoupon(said, metadata={"promotion_id": promotion_id, "coupon_code": code})
        known[promotion_id] = (promotion, coupon)
    return list(known.values())


def _require_free(counters: Counters, known: Sequence[tuple[Promotion, Coupon | None]], profile_id: str) -> None:
    found = [(promotion, coupon, used_up(counters, promotion, coupon, profile_id)) for promotion, coupon in known]
    full = [(promotion, coupon, which) for promotion, coupon, which in found if which]
    if not full:
        return
    named = listed([
        {
            "promotion_id": promotion.promotion_id,
            "coupon_code": coupon.code if coupon else "",
            "limit": which.value,
        }
        for promotion, coupon, which in full
    ])  # fmt: skip
    raise LimitReached(f"the limit of promotion {full[0][0].promotion_id} is used up", metadata={"offers": named})


def _counted(
    counters: Counters,
    left: Redemption,
    step: Callable[[Counts], Counts],
    limits: Mapping[CounterKey, int] | None = None,
) -> list[Counted]:
    """One step of every counter that the redemption counts for. Promotions are distinct, and so are the keys."""
    events = []
    for offer in left.offers:
        for key in keys_of(offer, left.profile_id):
            before = counts(counters, key)
            after = step(before)
            limit = limits[key] if limits is not None else _known_limit(counters, key)
            assert min(after) >= 0, f"P1: {left.state.value} leaves {key} at {after}, from {before}"
            assert after.used <= before.used or not limit or after.used <= limit, f"P2: {key} at {after} of {limit}"
            events.append(Counted(key, before, after, limit, offer, left))
    return events


def _known_limit(counters: Counters, key: CounterKey) -> int:
    counter: Counter | None = counters.get(key)
    assert counter is not None, f"P3: {key} was never counted"
    return counter.redemptions_max


def _hold_one(before: Counts) -> Counts:
    return before._replace(held=before.held + 1)


def _commit_one(before: Counts) -> Counts:
    return Counts(before.held - 1, before.committed + 1)


def _release_one(before: Counts) -> Counts:
    return before._replace(held=before.held - 1)


def _reverse_one(before: Counts) -> Counts:
    return before._replace(committed=before.committed - 1)
