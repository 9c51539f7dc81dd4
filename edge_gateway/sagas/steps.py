"""The checkout's sagas: each action beside its undo. Nothing here knows who runs them.

Opening holds the stock, then the offers; cancelling is the same saga backwards. Confirming redeems the offers, then
allocates the stock, which is the pivot, then records the purchase. Every call carries an id made of the checkout's own
and may be repeated; whose turn it is, the fence in the context says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from beautymesh.common.v1 import context_pb2
from beautymesh.inventory.v1 import reservation_pb2
from beautymesh.profile.v1 import profile_pb2
from beautymesh.promo.v1 import redemption_pb2
from edge_gateway.clients.services import Services
from edge_gateway.sagas.core import Shape
from edge_gateway.sagas.plan import Promise
from meshkit.core.errors import MeshError
from meshkit.log.from_rpc import step_request_id
from meshkit.rpc.times import timestamp

Action: TypeAlias = Callable[[Services, Promise, context_pb2.CommandContext], Awaitable[object]]


def _never(_fault: MeshError) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Step:
    """An action and what takes it back. `stands` knows the refusal of an undo that says: it was done, for good."""

    name: str
    do: Action
    undo: Action | None = None
    stands: Callable[[MeshError], bool] = _never


@dataclass(frozen=True, slots=True)
class Saga:
    """Steps in order. `pivot` is the last that can be refused."""

    steps: tuple[Step, ...]
    pivot: int
    turns_back_on_unknown: bool

    @property
    def shape(self) -> Shape:
        """What the core knows of it."""
        return Shape([step.undo is not None for step in self.steps], self.pivot, self.turns_back_on_unknown)


async def _reserve(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    plan = promise.plan
    await services.inventory.ReserveStock(
        reservation_pb2.ReserveStockRequest(
            request_id=step_request_id(plan.checkout_id, "reserve"),
            reservation_id=plan.reservation_id,
            lines=[
                reservation_pb2.ReserveLine(sku=line.sku, location=line.location, quantity=line.quantity)
                for line in plan.lines
            ],
            channel=promise.request.channel,
            expire_time=plan.expire_time,
            context=context,
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _release_stock(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    plan = promise.plan
    await services.inventory.ReleaseReservation(
        reservation_pb2.ReleaseReservationRequest(
            request_id=step_request_id(plan.checkout_id, "release"), reservation_id=plan.reservation_id, context=context
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _hold_offers(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    plan = promise.plan
    if not plan.redemption_id:
        return
    await services.promo.HoldRedemption(
        redemption_pb2.HoldRedemptionRequest(
            request_id=step_request_id(plan.redemption_id, "hold"),
            redemption_id=plan.redemption_id,
            offers=[
                redemption_pb2.RedeemedOffer(promotion_id=offer.promotion_id, coupon_code=offer.coupon_code)
                for offer in plan.applied_offers
            ],
            profile_id=plan.profile_id,
            expire_time=plan.expire_time,
            context=context,
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _release_offers(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    redemption_id = promise.plan.redemption_id
    if not redemption_id:
        return
    await services.promo.ReleaseRedemption(
        redemption_pb2.ReleaseRedemptionRequest(
            request_id=step_request_id(redemption_id, "release"), redemption_id=redemption_id, context=context
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _redeem_offers(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    redemption_id = promise.plan.redemption_id
    if not redemption_id:
        return
    await services.promo.CommitRedemption(
        redemption_pb2.CommitRedemptionRequest(
            request_id=step_request_id(redemption_id, "commit"),
            redemption_id=redemption_id,
            order_reference=promise.checkout.order_reference,
            context=context,
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _reverse_offers(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    redemption_id = promise.plan.redemption_id
    if not redemption_id:
        return
    await services.promo.ReverseRedemption(
        redemption_pb2.ReverseRedemptionRequest(
            request_id=step_request_id(redemption_id, "reverse"), redemption_id=redemption_id, context=context
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _allocate_stock(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    plan = promise.plan
    await services.inventory.CommitReservation(
        reservation_pb2.CommitReservationRequest(
            request_id=step_request_id(plan.checkout_id, "allocate"),
            reservation_id=plan.reservation_id,
            order_reference=promise.checkout.order_reference,
            context=context,
        ),
        timeout=CALL_SECONDS_MAX,
    )


async def _record_purchase(services: Services, promise: Promise, context: context_pb2.CommandContext) -> None:
    plan, checkout = promise.plan, promise.checkout
    if not plan.profile_id:
        return
    assert checkout.confirm_time is not None, f"{checkout.checkout_id} is sold and was never confirmed"
    try:
        await services.profile.RecordPurchase(
            profile_pb2.RecordPurchaseRequest(
                request_id=step_request_id(plan.checkout_id, "record"),
                profile_id=plan.profile_id,
                purchase_id=plan.checkout_id,
                order_reference=checkout.order_reference,
                channel=plan.channel,
                lines=[
                    profile_pb2.PurchaseLine(sku=line.sku, quantity=line.quantity, total=line.total)
                    for line in plan.lines
                ],
                total=plan.totals.total,
                occur_time=timestamp(checkout.confirm_time),
                context=context,
            ),
            timeout=CALL_SECONDS_MAX,
        )
    except MeshError as fault:
        if fault.reason != "ID_TAKEN":
            raise  # else the client has recorded this very checkout by itself


def _is_sold(fault: MeshError) -> bool:
    """Whether inventory will not release the reservation because it is an allocation."""
    return fault.reason == "WRONG_STATE" and fault.metadata.get("state") in {"committed", "closed"}


CALL_SECONDS_MAX: Final = 2.0
"""Deadline of one step's call, its repeats included: less than a lease."""

OPEN: Final = Saga(
    (Step("stock", _reserve, _release_stock), Step("offers", _hold_offers, _release_offers)),
    pivot=1,
    turns_back_on_unknown=True,
)
"""Its pivot has an undo, because what makes a checkout exist is the outcome's commit."""

CONFIRM: Final = Saga(
    (
        Step("offers", _redeem_offers, _reverse_offers),
        # What is not sold after all must not stay held. Its undo comes first: what is sold stays sold, with its offers.
        Step("stock", _allocate_stock, _release_stock, stands=_is_sold),
        Step("purchase", _record_purchase),
    ),
    pivot=1,
    turns_back_on_unknown=False,
)
"""Does not turn back on an unknown outcome: a redemption that is reversed cannot be held again, so the customer's order
would be lost for a moment's silence."""
