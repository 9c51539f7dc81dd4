"""What happened, as the log keeps it and as callers list it.

The payload of an event is the noun as it was left: a price, campaign, promotion or coupon; of a counter the redemption
that it counts, with the one offer that the counter is of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from beautymesh.promo.v1 import campaign_pb2, log_pb2, price_pb2, redemption_pb2
from meshkit.log.model import EventRow, Record
from meshkit.rpc.times import timestamp
from promo_svc.domain.campaigns import CampaignCreated, CampaignEndSet, CouponCreated, PromotionCreated
from promo_svc.domain.decide import Event
from promo_svc.domain.prices import PriceSet
from promo_svc.domain.redemptions import Counted
from promo_svc.store.keys import (
    SEPARATOR,
    campaign_key,
    counter_key,
    coupon_key,
    price_key,
    promotion_key,
    redemption_key,
)
from promo_svc.wire import messages

SERVICE = "promo"
PRICE_SET, CAMPAIGN_CREATED, CAMPAIGN_END_SET = "price_set", "campaign_created", "campaign_end_set"
PROMOTION_CREATED, COUPON_CREATED = "promotion_created", "coupon_created"
HELD = "redemption_held"
_BY_KEY = frozenset({CAMPAIGN_CREATED, CAMPAIGN_END_SET, PROMOTION_CREATED, COUPON_CREATED})
"""What is named by its key and has no balance."""
_NOUNS: Mapping[str, type[Message]] = {
    PRICE_SET: price_pb2.Price,
    CAMPAIGN_CREATED: campaign_pb2.Campaign,
    CAMPAIGN_END_SET: campaign_pb2.Campaign,
    PROMOTION_CREATED: campaign_pb2.Promotion,
    COUPON_CREATED: campaign_pb2.Coupon,
}
"""The payload of each kind; of every other, `redemption_<state>`, it is a redemption."""


def record(event: Event) -> Record:
    """The event as a row of the log.

    A counter has two balances, held and committed; a price two as well, its minor units and whether the tax is in it,
    so that the log proves the list and a price can be read as of any revision.
    """
    match event:
        case Counted():
            one_offer = replace(event.redemption, offers=(event.offer,))
            return Record(
                kind=f"redemption_{event.redemption.state.value}",
                key=counter_key(event.key),
                payload=messages.redemption(one_offer).SerializeToString(),
                deltas=(event.after.held - event.before.held, event.after.committed - event.before.committed),
                balances=event.after,
            )
        case PriceSet():
            price, before = event.price, event.before
            now = (price.price_minor, int(price.tax_included))
            then = (before.price_minor, int(before.tax_included)) if before else (0, 0)
            return Record(
                kind=PRICE_SET,
                key=price_key(price.key),
                payload=messages.price(price).SerializeToString(),
                deltas=(now[0] - then[0], now[1] - then[1]),
                balances=now,
                channel=price.key.channel,
            )
        case CampaignCreated():
            message: Message = messages.campaign(event.campaign)
            return Record(CAMPAIGN_CREATED, campaign_key(event.campaign.campaign_id), message.SerializeToString())
        case CampaignEndSet():
            message = messages.campaign(event.campaign)
            return Record(CAMPAIGN_END_SET, campaign_key(event.campaign.campaign_id), message.SerializeToString())
        case PromotionCreated():
            message = messages.promotion(event.promotion)
            return Record(PROMOTION_CREATED, promotion_key(event.promotion.promotion_id), message.SerializeToString())
        case CouponCreated():
            coupon = event.coupon
            message = messages.coupon(coupon)
            return Record(COUPON_CREATED, coupon_key(coupon.promotion_id, coupon.code), message.SerializeToString())


def made(row: EventRow) -> tuple[str, ...]:
    """The keys of rows without a balance of which the event tells. Every redemption begins as a hold."""
    if row.kind in _BY_KEY:
        return (row.key,)
    if row.kind != HELD:
        return ()
    try:
        return (redemption_key(redemption_pb2.Redemption.FromString(row.payload).redemption_id),)
    except DecodeError:  # the chain of hashes says so
        return ()


def promo_event(row: EventRow) -> log_pb2.PromoEvent:
    """A row of the log as callers list it."""
    payload = _NOUNS.get(row.kind, redemption_pb2.Redemption).FromString(row.payload)
    event = log_pb2.PromoEvent(
        event_id=f"{SERVICE}/{row.revision}/{row.index}",
        revision=row.revision,
        index=row.index,
        kind=row.kind,
        key=row.key.split(SEPARATOR),
        principal=row.principal,
        client_id=row.client_id,
        request_id=row.request_id,
        reference=row.reference,
        occur_time=timestamp(row.occur_time),
        record_time=timestamp(row.record_time),
    )
    event.payload.update(json_format.MessageToDict(payload))
    return event
