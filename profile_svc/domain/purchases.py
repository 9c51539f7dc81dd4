"""Recording orders that people paid for: facts, which are kept as they are told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.decision import Facts
from meshkit.core.errors import FieldViolation, InvalidRequest
from meshkit.core.money import Money
from profile_svc.domain.profiles import Profile, ProfileUpserted, new_profile
from profile_svc.errors import CurrencyMismatch, IdTaken

DEFAULT_CHANNEL: Final = "default"
"""The channel of a purchase that names none."""
NAMED_IN_ERROR_MAX: Final = 10
"""Lines that a refusal names."""


class PurchaseLine(NamedTuple):
    """Units of one SKU, and what they cost, where that is said."""

    sku: str
    quantity: int
    total: Money | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order that a person paid for.

    The lines' totals need not add up to `total`: shipping, gift wrap and discounts on the whole order belong to no
    line. `occur_time` is when it was bought, `record_time` and `revision` when and as what it was recorded.
    """

    purchase_id: str
    profile_id: str
    order_reference: str
    channel: str
    lines: tuple[PurchaseLine, ...]
    total: Money
    occur_time: datetime
    record_time: datetime
    revision: int


class RecordPurchase(NamedTuple):
    """Record an order. The id is the caller's to make, so that deciding stays pure; without `occur_time` it is now."""

    purchase_id: str
    profile_id: str
    order_reference: str
    lines: tuple[PurchaseLine, ...]
    total: Money
    channel: str = DEFAULT_CHANNEL
    occur_time: datetime | None = None


class PurchaseRecorded(NamedTuple):
    """The purchase, and its profile as it leaves it."""

    purchase: Purchase
    profile: Profile


class Recorded(NamedTuple):
    """The purchase's id, how many its profile has by now, and the revision of the command."""

    purchase_id: str
    order_count: int
    revision: int


def record_purchase(
    known: Profile | None, taken: Collection[str], command: RecordPurchase, facts: Facts
) -> tuple[list[ProfileUpserted | PurchaseRecorded], Recorded]:
    """Adds the purchase to its profile, which becomes known by it; `taken` has the ids of purchases that there are.

    Raises:
        InvalidRequest: it was bought in the future.
        CurrencyMismatch: naming the lines of another currency (P4).
        IdTaken: there is a purchase of this id (P3).
    """
    _require_past(command, facts)
    _require_one_currency(command)
    if command.purchase_id in taken:
        message = f"the purchase {command.purchase_id} is recorded already"
        raise IdTaken(message, metadata={"purchase_id": command.purchase_id})
    events: list[ProfileUpserted | PurchaseRecorded] = []
    if known is None:
        known = new_profile(command.profile_id, facts)
        events.append(ProfileUpserted(known))
    profile = replace(known, order_count=known.order_count + 1, revision=facts.revision)
    purchase = Purchase(
        purchase_id=command.purchase_id,
        profile_id=command.profile_id,
        order_reference=command.order_reference,
        channel=command.channel,
        lines=command.lines,
        total=command.total,
        occur_time=command.occur_time or facts.now,
        record_time=facts.now,
        revision=facts.revision,
    )
    events.append(PurchaseRecorded(purchase, profile))
    return events, Recorded(purchase.purchase_id, profile.order_count, facts.revision)


def _require_past(command: RecordPurchase, facts: Facts) -> None:
    if command.occur_time is not None and command.occur_time > facts.now + CLOCK_SKEW_MAX:
        raise InvalidRequest.of("occur_time", f"is in the future: it is {facts.now.isoformat()} now")


def _require_one_currency(command: RecordPurchase) -> None:
    currency = command.total.currency
    others = [
        (number, line.total.currency)
        for number, line in enumerate(command.lines)
        if line.total is not None and line.total.currency != currency
    ]
    if not others:
        return
    first, found = others[0]
    raise CurrencyMismatch(
        f"line {first} is in {found}, the purchase in {currency}",
        metadata={"count": str(len(others)), "currency": currency, "line_currency": found},
        violations=tuple(
            FieldViolation(f"lines[{number}].total.currency", f"{other} is not the purchase's {currency}")
            for number, other in others[:NAMED_IN_ERROR_MAX]
        ),
    )
