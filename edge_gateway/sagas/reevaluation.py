"""Prices a cart again without the offers that ended, or whose limit ran out, between its evaluation and its hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from beautymesh.promo.v1 import cart_pb2
from edge_gateway.clients.services import Services
from edge_gateway.sagas.plan import REEVALUATIONS_MAX, OfferKey, Promise, draw_up_again, evaluation_of
from edge_gateway.sagas.steps import CALL_SECONDS_MAX
from meshkit.core.errors import MeshError

LIMIT_REACHED: Final = "LIMIT_REACHED"
NOT_RUNNING: Final = "NOT_RUNNING"
OFFERS_GONE: Final = frozenset({LIMIT_REACHED, NOT_RUNNING})
"""How promo refuses to hold what it has offered a moment before."""

_PROFILE_LIMITS: Final = frozenset({"per_profile", "coupon_per_profile"})


class Reevaluation:
    """Mends a promise that promo refuses to hold."""

    def __init__(self, *, services: Services, new_id: Callable[[], str]) -> None:
        self._services = services
        self._new_id = new_id

    async def __call__(self, promised: Promise, fault: MeshError) -> Promise | None:
        """What the customer will pay without the offers that are gone; None where that is not the fault, or too often.

        Raises:
            MeshError: promo cannot price the cart now.
        """
        if fault.reason not in OFFERS_GONE or promised.changes == REEVALUATIONS_MAX:
            return None
        # What was full before stays out: the price must not jump back and forth. What has ended, promo leaves out.
        gone = {**promised.gone, **_full(fault)}
        question = evaluation_of(promised.request, excluded=gone)
        evaluated = await self._services.promo.EvaluateCart(question, timeout=CALL_SECONDS_MAX)
        plan = draw_up_again(promised.plan, promised.request, evaluated, gone=gone, new_id=self._new_id)
        return promised.with_plan(plan, gone)


def _full(fault: MeshError) -> Mapping[OfferKey, cart_pb2.RejectionReason.ValueType]:
    """The offers whose limit is used up, as `LimitReached` of promo names them, and whose limit it is.

    None where the wire had no room for a single name: the next evaluation looks at the limits by itself.
    """
    if fault.reason != LIMIT_REACHED:
        return {}
    return {
        OfferKey(offer["promotion_id"], offer["coupon_code"]): (
            cart_pb2.REJECTION_REASON_PROFILE_LIMIT_REACHED
            if offer["limit"] in _PROFILE_LIMITS
            else cart_pb2.REJECTION_REASON_LIMIT_REACHED
        )
        for offer in json.loads(fault.metadata.get("offers", "[]"))
    }
