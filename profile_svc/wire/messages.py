"""Profiles, purchases and amounts as messages."""

from __future__ import annotations

from beautymesh.common.v1 import money_pb2
from beautymesh.profile.v1 import profile_pb2
from meshkit.core.money import Money
from meshkit.rpc.times import timestamp
from profile_svc.domain.profiles import Profile
from profile_svc.domain.purchases import Purchase, PurchaseLine


def noun(each: Profile | Purchase) -> profile_pb2.Profile | profile_pb2.Purchase:
    """The noun as its event has it."""
    return profile_message(each) if isinstance(each, Profile) else purchase_message(each)


def money_message(amount: Money) -> money_pb2.Money:
    """The amount as a message."""
    return money_pb2.Money(minor=amount.minor, currency=amount.currency)


def money(message: money_pb2.Money) -> Money:
    """The amount."""
    return Money(message.minor, message.currency)


def profile_message(profile: Profile) -> profile_pb2.Profile:
    """The profile as a message."""
    return profile_pb2.Profile(
        profile_id=profile.profile_id,
        tags=profile.tags,
        order_count=profile.order_count,
        create_time=timestamp(profile.create_time),
        revision=profile.revision,
    )


def purchase_message(purchase: Purchase) -> profile_pb2.Purchase:
    """The purchase as a message."""
    return profile_pb2.Purchase(
        purchase_id=purchase.purchase_id,
        profile_id=purchase.profile_id,
        order_reference=purchase.order_reference,
        channel=purchase.channel,
        lines=[_line_message(line) for line in purchase.lines],
        total=money_message(purchase.total),
        occur_time=timestamp(purchase.occur_time),
        record_time=timestamp(purchase.record_time),
        revision=purchase.revision,
    )


def _line_message(line: PurchaseLine) -> profile_pb2.PurchaseLine:
    total = None if line.total is None else money_message(line.total)
    return profile_pb2.PurchaseLine(sku=line.sku, quantity=line.quantity, total=total)
