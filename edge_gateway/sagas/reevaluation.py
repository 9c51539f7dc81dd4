"""Prices a cart again without the offers whose limit ran out between its evaluation and its hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from beautymesh.promo.v1 import cart_pb2
from edge_gateway.clients.services import Services
from edge_gateway.sagas.plan import Promise, draw_up_again, evaluation_of
from meshkit.core.errors import MeshError

REEVALUATIONS_MAX: Final = 3
"""How often one cart is priced again."""

LIMIT_REACHED: Final = "LIMIT_REACHED"

_GONE: Final = frozenset({
    cart_pb2.REJECTION_REASON_LIMIT_REACHED,
    cart_pb2.REJECTION_REASON_PROFILE_LIMIT_REACHED,
})  # fmt: skip


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
        gone = frozenset(fault.metadata.get("offers", "").split()) if fault.reason == LIMIT_REACHED else frozenset()
        if not gone or promised.changes == REEVALUATIONS_MAX:
            return None
        # What an earlier evaluation has named as gone stays out: the price must not jump back and forth.
        excluded = gone | {offer.promotion_id for offer in promised.plan.rejected_offers if offer.reason in _GONE}
        evaluated = await self._services.promo.EvaluateCart(evaluation_of(promised.request, excluded=excluded))
        plan = draw_up_again(promised.plan, promised.request, evaluated, gone=excluded, new_id=self._new_id)
        return promised.with_plan(plan)
