"""Every RPC of `beautymesh.inventory.v1.InventoryService` in one object."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.inventory.v1 import inventory_pb2
from inventory_svc.rpc.commands import CommandRpcs
from inventory_svc.rpc.queries import QueryRpcs
from inventory_svc.rpc.watch import WatchRpcs
from inventory_svc.store.log import InventoryWriter
from inventory_svc.wire.stream import StockFilter
from meshkit.core.clock import Clock
from meshkit.feed.feed import Feed

DESCRIPTOR = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]


class InventoryServicer(CommandRpcs, QueryRpcs, WatchRpcs):
    """Writes through the log, reads from the projections, streams from the feed."""

    def __init__(
        self,
        *,
        writer: InventoryWriter,
        fingerprint_key: bytes,
        new_id: Callable[[], str],
        engine: AsyncEngine,
        clock: Clock,
        feed: Feed[StockFilter],
    ) -> None:
        """Hands its parts to the three kinds of RPC."""
        CommandRpcs.__init__(self, writer=writer, fingerprint_key=fingerprint_key, new_id=new_id)
        QueryRpcs.__init__(self, engine=engine, clock=clock, visibility=feed)
        WatchRpcs.__init__(self, feed=feed)
