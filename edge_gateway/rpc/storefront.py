"""Every RPC of `beautymesh.edge.v1.StorefrontService` over gRPC; `edge_gateway.rest.availability` is its REST."""

from __future__ import annotations

from beautymesh.edge.v1 import service_pb2, storefront_pb2
from edge_gateway.clients.storefront import Storefront
from meshkit.rpc.call import Call

DESCRIPTOR = service_pb2.DESCRIPTOR.services_by_name["StorefrontService"]


class StorefrontServicer:
    """Answers from the public view."""

    def __init__(self, storefront: Storefront) -> None:
        self._storefront = storefront

    async def GetStorefrontAvailability(
        self, request: storefront_pb2.GetStorefrontAvailabilityRequest, call: Call
    ) -> storefront_pb2.GetStorefrontAvailabilityResponse:
        """Whether a channel sells a SKU now, roughly."""
        del call  # public: there is no grant to check
        return (await self._storefront.get(request.sku, request.channel)).response()
