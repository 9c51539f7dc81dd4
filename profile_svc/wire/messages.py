"""Profiles, purchases, amounts and times as messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import money_pb2
from beautymesh.profile.v1 import profile_pb2
from meshkit.core.money import Money
from profile_svc.domain.profiles import Profile
from profile_svc.domain.purchases import Purchase, PurchaseLine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def timestamp(moment: datetime) -> Timestamp:
    """The moment as a Timestamp, to the microsecond."""
    seconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def moment(value: Timestamp) -> datetime:
    """The Timestamp as an aware datetime; nanoseconds are cut off."""
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


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
