"""What happened, as the log keeps it: a payload is the noun as callers read it, so what is hashed is what is shown."""

from __future__ import annotations

from typing import Final

from meshkit.log.model import Record
from profile_svc.domain.decide import Event
from profile_svc.domain.profiles import ProfileUpserted
from profile_svc.domain.purchases import PurchaseRecorded
from profile_svc.store.keys import profile_key
from profile_svc.wire.messages import profile_message, purchase_message

PROFILE_UPSERTED: Final = "profile_upserted"
PURCHASE_RECORDED: Final = "purchase_recorded"


def record(event: Event) -> Record:
    """The event as a row of the log. The one balance of a profile's key is its order count."""
    match event:
        case ProfileUpserted():
            return Record(
                kind=PROFILE_UPSERTED,
                key=profile_key(event.profile.profile_id),
                payload=profile_message(event.profile).SerializeToString(),
                deltas=(0,),
                balances=(event.profile.order_count,),
            )
        case PurchaseRecorded():
            return Record(
                kind=PURCHASE_RECORDED,
                key=profile_key(event.profile.profile_id),
                payload=purchase_message(event.purchase).SerializeToString(),
                deltas=(1,),
                balances=(event.profile.order_count,),
                channel=event.purchase.channel,
            )
