"""The services as the edge calls them: one stub each, on behalf of whoever the current work is for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from beautymesh.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from beautymesh.profile.v1 import service_pb2 as profile_pb2
from beautymesh.profile.v1 import service_pb2_grpc as profile_pb2_grpc
from beautymesh.promo.v1 import promo_pb2, promo_pb2_grpc
from edge_gateway.settings import EdgeSettings, targets
from meshkit.rpc.channel import MeshChannel, for_caller, grpc_channel
from meshkit.rpc.tokens import ServiceTokens
from meshkit.telemetry.metrics import Metrics

INVENTORY = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]
PROMO = promo_pb2.DESCRIPTOR.services_by_name["PromoService"]
PROFILE = profile_pb2.DESCRIPTOR.services_by_name["ProfileService"]


@dataclass(frozen=True, slots=True)
class Channels:
    """A channel to all processes of each service."""

    inventory: MeshChannel
    promo: MeshChannel
    profile: MeshChannel


@dataclass(frozen=True, slots=True)
class Services:
    """What sagas call."""

    inventory: inventory_pb2_grpc.InventoryServiceAsyncStub
    promo: promo_pb2_grpc.PromoServiceAsyncStub
    profile: profile_pb2_grpc.ProfileServiceAsyncStub


@asynccontextmanager
async def open_channels(settings: EdgeSettings, *, tokens: ServiceTokens, metrics: Metrics) -> AsyncGenerator[Channels]:
    """Channels that speak for the call, or the saga, that is being worked on."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                grpc_channel(targets(each), services=[service], token=for_caller(tokens), metrics=metrics)
            )
            for each, service in (
                (settings.inventory_targets, INVENTORY),
                (settings.promo_targets, PROMO),
                (settings.profile_targets, PROFILE),
            )
        ]
        yield Channels(*opened)


def services(channels: Channels) -> Services:
    """The stubs on these channels."""
    return Services(
        inventory=inventory_pb2_grpc.InventoryServiceStub(channels.inventory),
        promo=promo_pb2_grpc.PromoServiceStub(channels.promo),
        profile=profile_pb2_grpc.ProfileServiceStub(channels.profile),
    )


@asynccontextmanager
async def own_inventory(
    settings: EdgeSettings, *, tokens: ServiceTokens, metrics: Metrics
) -> AsyncGenerator[inventory_pb2_grpc.InventoryServiceAsyncStub]:
    """Inventory on the edge's own behalf: what it reads is shared by all callers."""
    channel = grpc_channel(
        targets(settings.inventory_targets),
        services=[INVENTORY],
        token=lambda: tokens.token_for(None),
        metrics=metrics,
    )
    async with channel:
        yield inventory_pb2_grpc.InventoryServiceStub(channel)
