"""Carts as callers send them, and what they cost as callers get it."""

from __future__ import annotations

from collections.abc import Sequence

from beautymesh.common.v1 import money_pb2
from beautymesh.promo.v1 import cart_pb2
from meshkit.core.money import Money
from meshkit.rpc.times import timestamp
from promo_svc.domain.campaigns import capitals
from promo_svc.domain.evaluate import Applied, Line, Reason, Rejected, Source
from promo_svc.domain.prices import DEFAULT_CHANNEL
from promo_svc.usecases.evaluate_cart import Cart, PricedCart, WantedLine

_SOURCES = {
    Source.LIST: cart_pb2.PRICE_SOURCE_LIST,
    Source.OVERRIDE: cart_pb2.PRICE_SOURCE_OVERRIDE,
}
_REASONS = {reason: cart_pb2.RejectionReason.Value(f"REJECTION_REASON_{reason.name}") for reason in Reason}


def cart(request: cart_pb2.EvaluateCartRequest, *, default_currency: str) -> Cart:
    """What is to be priced."""
    currency = request.currency or default_currency
    return Cart(
        lines=tuple(_wanted(line, currency) for line in request.lines),
        channel=request.channel or DEFAULT_CHANNEL,
        currency=currency,
        coupon_codes=tuple(request.coupon_codes),
        profile_id=request.profile_id,
        placement=request.context.placement,
        experiments=tuple(sorted(request.context.experiments.items())),
        excluded_promotion_ids=frozenset(request.excluded_promotion_ids),
        excluded_coupon_codes=frozenset(capitals(code) for code in request.excluded_coupon_codes),
    )


def evaluated(priced: PricedCart) -> cart_pb2.EvaluateCartResponse:
    """The answer."""
    subtotal = sum(line.subtotal_minor for line in priced.lines)
    discount = sum(sum(each.off_minor) for each in priced.evaluation.applied)
    currency = priced.currency
    return cart_pb2.EvaluateCartResponse(
        lines=[_line(line, index, priced.evaluation.applied, currency) for index, line in enumerate(priced.lines)],
        totals=cart_pb2.CartTotals(
            subtotal=_money(subtotal, currency),
            discount=_money(-discount, currency),
            total=_money(subtotal - discount, currency),
        ),
        applied_offers=[
            cart_pb2.AppliedOffer(
                promotion_id=each.promotion.promotion_id,
                campaign_id=each.promotion.campaign_id,
                coupon_code=each.coupon_code,
                name=each.promotion.name,
                amount=_money(-sum(each.off_minor), currency),
            )
            for each in priced.evaluation.applied
        ],
        rejected_offers=[_rejected(each) for each in priced.evaluation.rejected],
        evaluate_time=timestamp(priced.evaluate_time),
        revision=priced.revision,
    )


def _wanted(line: cart_pb2.CartLine, currency: str) -> WantedLine:
    if not line.HasField("unit_price"):
        return WantedLine(line.sku, line.quantity)
    own = Money(line.unit_price.minor, line.unit_price.currency or currency)
    return WantedLine(line.sku, line.quantity, own)


def _line(line: Line, index: int, applied: Sequence[Applied], currency: str) -> cart_pb2.PricedLine:
    off = sum(each.off_minor[index] for each in applied)
    return cart_pb2.PricedLine(
        sku=line.sku,
        quantity=line.quantity,
        unit_price=_money(line.unit_price_minor, currency),
        price_source=_SOURCES[line.source],
        tax_included=line.tax_included,
        subtotal=_money(line.subtotal_minor, currency),
        adjustments=[
            cart_pb2.Adjustment(
                promotion_id=each.promotion.promotion_id,
                coupon_code=each.coupon_code,
                label=each.promotion.name,
                amount=_money(-each.off_minor[index], currency),
            )
            for each in applied
            if each.off_minor[index]
        ],
        total=_money(line.subtotal_minor - off, currency),
    )


def _rejected(each: Rejected) -> cart_pb2.RejectedOffer:
    return cart_pb2.RejectedOffer(
        promotion_id=each.promotion_id, coupon_code=each.code, name=each.name, reason=_REASONS[each.reason]
    )


def _money(minor: int, currency: str) -> money_pb2.Money:
    return money_pb2.Money(minor=minor, currency=currency)
