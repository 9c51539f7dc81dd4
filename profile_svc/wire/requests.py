"""What callers ask for, as domain commands. Bounds are checked already: `buf.validate` states them in the contract."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.profile.v1 import profile_pb2
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.times import moment
from profile_svc.domain.profiles import UpsertProfile
from profile_svc.domain.purchases import DEFAULT_CHANNEL, PurchaseLine, RecordPurchase
from profile_svc.wire.messages import money


def upsert_profile(request: profile_pb2.UpsertProfileRequest) -> UpsertProfile:
    """The command."""
    return UpsertProfile(request.profile_id, tuple(request.tags))


def record_purchase(request: profile_pb2.RecordPurchaseRequest, new_id: str) -> RecordPurchase:
    """The command, which will make the purchase `new_id` where the caller has chosen none.

    Raises:
        InvalidRequest: naming a time that is none.
    """
    return RecordPurchase(
        purchase_id=request.purchase_id or new_id,
        profile_id=request.profile_id,
        order_reference=request.order_reference,
        lines=tuple(
            PurchaseLine(line.sku, line.quantity, money(line.total) if line.HasField("total") else None)
            for line in request.lines
        ),
        total=money(request.total),
        channel=request.channel or DEFAULT_CHANNEL,
        occur_time=_occur_time(request.occur_time) if request.HasField("occur_time") else None,
    )


def _occur_time(value: Timestamp) -> datetime:
    if value.seconds < 0:
        raise InvalidRequest.of("occur_time", "must be a time since 1970")
    return moment(value, "occur_time")
