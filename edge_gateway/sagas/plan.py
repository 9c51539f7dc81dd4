"""What a checkout promises, as messages of the contract: every id, price and amount fixed before anything is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.promo.v1 import cart_pb2
from edge_gateway.domain.checkout import Checkout, State, shown_state
from meshkit.rpc.times import timestamp

REEVALUATIONS_MAX = 3
"""How often one cart is priced again because its offers are gone."""

HOLD_DEFAULT = timedelta(seconds=900)
DEFAULT_CHANNEL = "default"

_STATES = {state: checkout_pb2.CheckoutState.Value(f"CHECKOUT_STATE_{state.name}") for state in State}


class OfferKey(NamedTuple):
    """A promotion, and the coupon code that unlocks it for a cart; empty where it needs none.

    Other codes may unlock the same promotion.
    """

    promotion_id: str
    coupon_code: str


Gone: TypeAlias = Mapping[OfferKey, cart_pb2.RejectionReason.ValueType]
"""Offers whose limit ran out after the cart had been priced with them, and why it was refused."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A checkout with its two messages read: what was asked for, what is promised, and how often that was changed."""

    checkout: Checkout
    request: checkout_pb2.CreateCheckoutRequest
    plan: checkout_pb2.Checkout
    changes: int = 0
    gone: Gone = field(default_factory=dict)

    def with_plan(self, plan: checkout_pb2.Checkout, gone: Gone) -> Promise:
        """The same checkout, promising something else, without the offers that are gone."""
        changed = replace(self.checkout, plan=plan.SerializeToString())
        return replace(self, checkout=changed, plan=plan, changes=self.changes + 1, gone=gone)


def promise(checkout: Checkout) -> Promise:
    """The row's messages."""
    return Promise(
        checkout,
        checkout_pb2.CreateCheckoutRequest.FromString(checkout.request),
        checkout_pb2.Checkout.FromString(checkout.plan),
    )


def evaluation_of(
    request: checkout_pb2.CreateCheckoutRequest, *, excluded: Iterable[OfferKey] = ()
) -> cart_pb2.EvaluateCartRequest:
    """The question what this cart costs without the excluded offers: of a coupon's, only its code is left out."""
    excluded = sorted(excluded)
    return cart_pb2.EvaluateCartRequest(
        lines=[
            cart_pb2.CartLine(
                sku=line.sku,
                quantity=line.quantity,
                unit_price=line.unit_price if line.HasField("unit_price") else None,
            )
            for line in request.lines
        ],
        channel=request.channel,
        currency=request.currency,
        coupon_codes=request.coupon_codes,
        profile_id=request.profile_id,
        context=request.context if request.HasField("context") else None,
        excluded_promotion_ids=[each.promotion_id for each in excluded if not each.coupon_code],
        excluded_coupon_codes=[each.coupon_code for each in excluded if each.coupon_code],
    )


def draw_up(
    request: checkout_pb2.CreateCheckoutRequest,
    evaluated: cart_pb2.EvaluateCartResponse,
    *,
    now: datetime,
    new_id: Callable[[], str],
) -> checkout_pb2.Checkout:
    """The first plan. Both holds share its `expire_time`."""
    plan = checkout_pb2.Checkout(
        checkout_id=new_id(),
        reservation_id=new_id(),
        expire_time=timestamp(now + (request.ttl.ToTimedelta() if request.HasField("ttl") else HOLD_DEFAULT)),
        channel=request.channel or DEFAULT_CHANNEL,
        profile_id=request.profile_id,
    )
    _put_prices(plan, request, evaluated, new_id=new_id)
    return plan


def draw_up_again(
    plan: checkout_pb2.Checkout,
    request: checkout_pb2.CreateCheckoutRequest,
    evaluated: cart_pb2.EvaluateCartResponse,
    *,
    gone: Gone,
    new_id: Callable[[], str],
) -> checkout_pb2.Checkout:
    """The same checkout at the prices that it has without the offers whose limit ran out, which it names."""
    another = checkout_pb2.Checkout()
    another.CopyFrom(plan)
    for priced in ("lines", "totals", "applied_offers", "rejected_offers", "redemption_id"):
        another.ClearField(priced)
    _put_prices(another, request, evaluated, new_id=new_id)
    _say_what_is_gone(another, plan, gone)
    return another


def _say_what_is_gone(another: checkout_pb2.Checkout, plan: checkout_pb2.Checkout, gone: Gone) -> None:
    """Names the offers that an earlier plan had and this one has not. We left them out, not the customer."""
    names = {OfferKey(offer.promotion_id, offer.coupon_code): offer.name for offer in plan.applied_offers}
    names |= {OfferKey(offer.promotion_id, offer.coupon_code): offer.name for offer in plan.rejected_offers}
    kept = [offer for offer in another.rejected_offers if offer.reason != cart_pb2.REJECTION_REASON_EXCLUDED]
    lost = [
        cart_pb2.RejectedOffer(
            promotion_id=key.promotion_id, coupon_code=key.coupon_code, name=names[key], reason=reason
        )
        for key, reason in gone.items()
    ]
    another.ClearField("rejected_offers")
    another.rejected_offers.extend([*kept, *lost])


def message(checkout: Checkout) -> checkout_pb2.Checkout:
    """The checkout as a caller sees it now."""
    shown = checkout_pb2.Checkout.FromString(checkout.plan)
    shown.state = _STATES[shown_state(checkout)]
    shown.order_reference = checkout.order_reference
    shown.payment_reference = checkout.payment_reference
    shown.create_time.CopyFrom(timestamp(checkout.create_time))
    shown.update_time.CopyFrom(timestamp(checkout.update_time))
    return shown


def _put_prices(
    plan: checkout_pb2.Checkout,
    request: checkout_pb2.CreateCheckoutRequest,
    evaluated: cart_pb2.EvaluateCartResponse,
    *,
    new_id: Callable[[], str],
) -> None:
    for asked, priced in zip(request.lines, evaluated.lines, strict=True):
        assert asked.sku == priced.sku, f"promo answered {priced.sku} where {asked.sku} was asked"
        plan.lines.add(
            sku=priced.sku,
            location=asked.location,
            quantity=priced.quantity,
            unit_price=priced.unit_price,
            price_source=priced.price_source,
            tax_included=priced.tax_included,
            subtotal=priced.subtotal,
            adjustments=priced.adjustments,
            total=priced.total,
        )
    plan.totals.CopyFrom(evaluated.totals)
    plan.applied_offers.extend(evaluated.applied_offers)
    plan.rejected_offers.extend(evaluated.rejected_offers)
    if plan.applied_offers:
        plan.redemption_id = new_id()
