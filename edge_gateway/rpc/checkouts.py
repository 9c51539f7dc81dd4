"""Every RPC of `beautymesh.edge.v1.CheckoutService`."""

from __future__ import annotations

from typing import Final

from beautymesh.edge.v1 import checkout_pb2, service_pb2
from edge_gateway.sagas.checkout import Checkouts
from edge_gateway.sagas.plan import message
from edge_gateway.store.checkouts import Filter
from meshkit.rpc.call import Call
from meshkit.rpc.paging import page_position, page_token

DESCRIPTOR = service_pb2.DESCRIPTOR.services_by_name["CheckoutService"]

PAGE_ROWS_DEFAULT: Final = 100


class CheckoutServicer:
    """Converts, calls, converts back."""

    def __init__(self, checkouts: Checkouts) -> None:
        self._checkouts = checkouts

    async def CreateCheckout(
        self, request: checkout_pb2.CreateCheckoutRequest, call: Call
    ) -> checkout_pb2.CreateCheckoutResponse:
        """Prices a cart and holds its stock and its offers."""
        return checkout_pb2.CreateCheckoutResponse(checkout=await self._checkouts.create(request, call))

    async def GetCheckout(
        self, request: checkout_pb2.GetCheckoutRequest, call: Call
    ) -> checkout_pb2.GetCheckoutResponse:
        """One checkout of the caller's own."""
        return checkout_pb2.GetCheckoutResponse(checkout=await self._checkouts.get(request.checkout_id, call))

    async def ListCheckouts(
        self, request: checkout_pb2.ListCheckoutsRequest, call: Call
    ) -> checkout_pb2.ListCheckoutsResponse:
        """Checkouts of the caller's own, newest first."""
        position = page_position(request, request.page_token, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        state = checkout_pb2.CheckoutState.Name(request.state).removeprefix("CHECKOUT_STATE_").lower()
        chosen = Filter(
            client_id=call.principal.client_id,
            state="" if request.state == checkout_pb2.CHECKOUT_STATE_UNSPECIFIED else state,
            profile_id=request.profile_id,
            order_reference=request.order_reference,
            before=position[0] if position else "",
        )
        checkouts, last_id = await self._checkouts.list(chosen, call, rows_max=rows_max)
        return checkout_pb2.ListCheckoutsResponse(
            checkouts=[message(each) for each in checkouts],
            next_page_token=page_token(request, (last_id,)) if last_id else "",
        )

    async def ConfirmCheckout(
        self, request: checkout_pb2.ConfirmCheckoutRequest, call: Call
    ) -> checkout_pb2.ConfirmCheckoutResponse:
        """Sells what is held."""
        return checkout_pb2.ConfirmCheckoutResponse(checkout=await self._checkouts.confirm(request, call))

    async def CancelCheckout(
        self, request: checkout_pb2.CancelCheckoutRequest, call: Call
    ) -> checkout_pb2.CancelCheckoutResponse:
        """Gives back what is held."""
        return checkout_pb2.CancelCheckoutResponse(checkout=await self._checkouts.cancel(request, call))
