"""The RPC that streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from beautymesh.common.v1.watch_pb2 import CATCH_UP_EVERY_REVISION
from beautymesh.inventory.v1 import watch_pb2
from inventory_svc.wire.stream import StockFilter, stock_filter
from meshkit.feed.feed import Feed
from meshkit.rpc.call import Call


class WatchRpcs:
    """The part of the servicer that streams."""

    def __init__(self, *, feed: Feed[StockFilter]) -> None:
        """`feed` must run."""
        self._feed = feed

    async def WatchStock(
        self, request: watch_pb2.WatchStockRequest, call: Call
    ) -> AsyncGenerator[watch_pb2.WatchStockResponse | bytes, None]:
        """What changed, until the caller leaves or the server says goodbye."""
        messages = self._feed.subscribe(
            stock_filter(request.filter, call.principal),
            resume_token=request.resume_token,
            with_snapshot=not request.skip_snapshot,
            every_revision=request.catch_up == CATCH_UP_EVERY_REVISION,
        )
        async with aclosing(messages):
            async for message in messages:
                yield message
