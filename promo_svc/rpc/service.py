"""Every RPC of `beautymesh.promo.v1.PromoService` in one object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.promo.v1 import promo_pb2
from meshkit.core.clock import Clock
from meshkit.log.visibility import LogVisibility
from promo_svc.domain.campaigns import Promotion
from promo_svc.rpc.commands import CommandRpcs
from promo_svc.rpc.queries import QueryRpcs
from promo_svc.store.log import PromoWriter
from promo_svc.usecases.evaluate_cart import Cart, PricedCart

DESCRIPTOR = promo_pb2.DESCRIPTOR.services_by_name["PromoService"]


class PromoServicer(CommandRpcs, QueryRpcs):
    """Writes through the log, reads from the projections."""

    def __init__(
        self,
        *,
        writer: PromoWriter,
        fingerprint_key: bytes,
        new_id: Callable[[], str],
        require_valid: Callable[[Promotion], None],
        engine: AsyncEngine,
        clock: Clock,
        visibility: LogVisibility,
        evaluate_cart: Callable[[Cart], Awaitable[PricedCart]],
        default_currency: str,
    ) -> None:
        """Hands its parts to the two kinds of RPC."""
        CommandRpcs.__init__(
            self, writer=writer, fingerprint_key=fingerprint_key, new_id=new_id, require_valid=require_valid
        )
        QueryRpcs.__init__(
            self,
            engine=engine,
            clock=clock,
            visibility=visibility,
            evaluate_cart=evaluate_cart,
            default_currency=default_currency,
        )
