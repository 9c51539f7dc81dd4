"""The nouns of promo as messages: in replies, in lists and in the log."""

from __future__ import annotations

from google.protobuf.message import Message

from beautymesh.common.v1 import money_pb2
from beautymesh.promo.v1 import campaign_pb2, price_pb2, redemption_pb2
from meshkit.core.money import Money
from meshkit.rpc.times import timestamp
from promo_svc.domain.campaigns import AmountOff, Benefit, Campaign, Coupon, Limit, PercentOff, Promotion
from promo_svc.domain.counters import NOTHING, Counts, Offer
from promo_svc.domain.prices import ALWAYS, Price
from promo_svc.domain.redemptions import Redemption


def noun(each: Campaign | Promotion | Coupon | Redemption) -> Message:
    """The noun as its event has it."""
    match each:
        case Campaign():
            return campaign(each)
        case Promotion():
            return promotion(each)
        case Coupon():
            return coupon(each)
        case Redemption():
            return redemption(each)


def money(amount: Money) -> money_pb2.Money:
    """The amount as a message."""
    return money_pb2.Money(minor=amount.minor, currency=amount.currency)


def price(each: Price, revision: int = 0) -> price_pb2.Price:
    """The price as a message."""
    key = each.key
    return price_pb2.Price(
        sku=key.sku,
        channel=key.channel,
        currency=key.currency,
        price_minor=each.price_minor,
        tax_included=each.tax_included,
        valid_from=None if key.valid_from == ALWAYS else timestamp(key.valid_from),
        revision=revision,
    )


def campaign(each: Campaign) -> campaign_pb2.Campaign:
    """The campaign as a message."""
    return campaign_pb2.Campaign(
        campaign_id=each.campaign_id,
        name=each.name,
        start_time=timestamp(each.start_time),
        end_time=timestamp(each.end_time) if each.end_time else None,
        create_time=timestamp(each.create_time),
        revision=each.revision,
    )


def promotion(each: Promotion, counts: Counts = NOTHING, revision: int = 0) -> campaign_pb2.Promotion:
    """The promotion as a message; `revision` where its counts have changed after it."""
    return campaign_pb2.Promotion(
        promotion_id=each.promotion_id,
        campaign_id=each.campaign_id,
        name=each.name,
        condition=each.condition,
        selector=each.selector,
        benefit=benefit(each.benefit),
        limit=limit(each.limit),
        needs_coupon=each.needs_coupon,
        priority=each.priority,
        held=counts.held,
        committed=counts.committed,
        revision=revision or each.revision,
    )


def benefit(each: Benefit) -> campaign_pb2.Benefit:
    """The benefit as a message."""
    match each:
        case PercentOff():
            return campaign_pb2.Benefit(percent_off_basis_points=each.basis_points)
        case AmountOff():
            return campaign_pb2.Benefit(amount_off=money(each.amount))


def limit(each: Limit) -> campaign_pb2.RedemptionLimit:
    """The limit as a message."""
    return campaign_pb2.RedemptionLimit(total=each.total, per_profile=each.per_profile)


def coupon(each: Coupon, counts: Counts = NOTHING, revision: int = 0) -> campaign_pb2.Coupon:
    """The coupon as a message; `revision` where its counts have changed after it."""
    return campaign_pb2.Coupon(
        code=each.code,
        promotion_id=each.promotion_id,
        campaign_id=each.campaign_id,
        limit=limit(each.limit),
        held=counts.held,
        committed=counts.committed,
        revision=revision or each.revision,
    )


def offer(each: Offer) -> redemption_pb2.RedeemedOffer:
    """The offer as a message."""
    return redemption_pb2.RedeemedOffer(promotion_id=each.promotion_id, coupon_code=each.coupon_code)


def redemption(each: Redemption) -> redemption_pb2.Redemption:
    """The redemption as a message."""
    return redemption_pb2.Redemption(
        redemption_id=each.redemption_id,
        state=redemption_pb2.RedemptionState.Value(f"REDEMPTION_STATE_{each.state.name}"),
        offers=[offer(used) for used in each.offers],
        profile_id=each.profile_id,
        expire_time=timestamp(each.expire_time),
        create_time=timestamp(each.create_time),
        order_reference=each.order_reference,
        revision=each.revision,
        client_id=each.client_id,
    )
