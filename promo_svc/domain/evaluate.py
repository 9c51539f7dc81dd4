"""What a cart costs, and which offers make it cheaper: arithmetic on what was looked up before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from meshkit.core.errors import InvalidRequest
from meshkit.core.money import Money
from promo_svc.domain.campaigns import AmountOff, Benefit, Coupon, PercentOff, Promotion
from promo_svc.domain.counters import OFFERS_MAX, Counters, used_up

MINOR_MAX = 10**15
"""What an amount of the contract may hold. A line or cart above it is refused, so no sum can overflow 64 bits."""
WHOLE_BASIS_POINTS = 10_000


class Source(Enum):
    """Where a line's price comes from."""

    LIST = "list"
    OVERRIDE = "override"


class Line(NamedTuple):
    """One line of a cart with its price before any offer."""

    sku: str
    quantity: int
    unit_price_minor: int
    source: Source = Source.LIST
    tax_included: bool = False

    @property
    def subtotal_minor(self) -> int:
        """Units times unit price."""
        return self.quantity * self.unit_price_minor


class ProfileFacts(NamedTuple):
    """What a condition may know of the person. A guest is not known."""

    known: bool = False
    tags: tuple[str, ...] = ()
    order_count: int = 0


GUEST = ProfileFacts()


class Reason(Enum):
    """Why an offer that could be expected is not in the cart."""

    UNKNOWN_COUPON = "unknown_coupon"
    LIMIT_REACHED = "limit_reached"
    PROFILE_LIMIT_REACHED = "profile_limit_reached"
    CONDITION_NOT_MET = "condition_not_met"
    EXCLUDED = "excluded"
    TOO_MANY_OFFERS = "too_many_offers"
    ALREADY_APPLIED = "already_applied"


class Candidate(NamedTuple):
    """A promotion that runs, the coupon that unlocks it if it needs one, and its rules as predicates of this cart.

    `code` is the coupon's code as the caller wrote it; `selects` takes a line's position.
    """

    promotion: Promotion
    coupon: Coupon | None
    code: str
    holds: Callable[[], bool]
    selects: Callable[[int], bool]


class Rejected(NamedTuple):
    """An offer that is not in the cart, with the code as the caller wrote it."""

    promotion_id: str
    code: str
    name: str
    reason: Reason


class Applied(NamedTuple):
    """An offer that the cart has got, and what it takes off each line (zero or above)."""

    promotion: Promotion
    coupon_code: str
    off_minor: tuple[int, ...]


@dataclass(slots=True)
class Evaluation:
    """Offers in the order in which they apply."""

    applied: list[Applied] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def require_bounded(lines: Sequence[Line]) -> None:
    """Refuses carts that cost more than an amount may hold.

    Raises:
        InvalidRequest: naming the first line that costs, or with those before it makes the cart cost, too much.
    """
    total = 0
    for index, line in enumerate(lines):
        total += line.subtotal_minor
        if total > MINOR_MAX:
            whose = "the line costs" if line.subtotal_minor > MINOR_MAX else "up to here the cart costs"
            raise InvalidRequest.of(f"lines[{index}].quantity", f"{whose} more than {MINOR_MAX} minor units")


def evaluate(
    lines: Sequence[Line], candidates: Sequence[Candidate], counters: Counters, *, currency: str, profile_id: str
) -> Evaluation:
    """Applies the offers in order of priority, then id, each to what the ones before have left.

    Each promotion applies once, also where several of its codes are given: the first one that can be used unlocks it.
    After `OFFERS_MAX` nothing more applies. Without a code only those offers are rejected by name whose limit alone
    keeps them from the cart.
    """
    left = [line.subtotal_minor for line in lines]
    outcome = Evaluation()
    got: set[str] = set()
    for candidate in sorted(candidates, key=lambda each: (each.promotion.priority, each.promotion.promotion_id)):
        promotion, coupon = candidate.promotion, candidate.coupon
        enough = len(outcome.applied) == OFFERS_MAX
        if enough and not coupon:
            continue
        full = used_up(counters, promotion, coupon, profile_id)
        off = [] if promotion.promotion_id in got else _off(candidate, left, currency)
        if full and (coupon or any(off)):
            reason = Reason.PROFILE_LIMIT_REACHED if full.of_profile else Reason.LIMIT_REACHED
        elif any(off) and enough:
            reason = Reason.TOO_MANY_OFFERS
        elif any(off):
            got.add(promotion.promotion_id)
            outcome.applied.append(Applied(promotion, coupon.code if coupon else "", tuple(off)))
            left = [before - less for before, less in zip(left, off, strict=True)]
            continue
        elif coupon:
            reason = Reason.ALREADY_APPLIED if promotion.promotion_id in got else Reason.CONDITION_NOT_MET
        else:
            continue
        outcome.rejected.append(Rejected(promotion.promotion_id, candidate.code, promotion.name, reason))
    assert min(left) >= 0, f"P5: lines are left at {left}"
    return outcome


def _off(candidate: Candidate, left: Sequence[int], currency: str) -> list[int]:
    """What the offer would take off each line; empty where it does not apply."""
    benefit = candidate.promotion.benefit
    if isinstance(benefit, AmountOff) and benefit.amount.currency != currency:
        return []
    if not candidate.holds():
        return []
    selected = [cost if cost and candidate.selects(index) else 0 for index, cost in enumerate(left)]
    return taken_off(benefit, selected) if any(selected) else []


def taken_off(benefit: Benefit, costs: Sequence[int]) -> list[int]:
    """What the benefit takes off lines that cost so much, one of them at least something; never more than they cost.

    A percentage is rounded half up to the cent line by line. An amount is prorated to the cent by what the lines cost.
    """
    if isinstance(benefit, PercentOff):
        half = WHOLE_BASIS_POINTS // 2
        return [(cost * benefit.basis_points + half) // WHOLE_BASIS_POINTS for cost in costs]
    amount = min(benefit.amount.minor, sum(costs))
    return [share.minor for share in Money(amount, benefit.amount.currency).prorate(costs)]
