"""What anybody may know of the stock: whether it is to be had, and no more units than a basket takes.

Everything that an answer says, its entity tag and age included, changes only when the view does. A tag or an age that
moved with every sale would let a stranger count sales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from beautymesh.edge.v1 import storefront_pb2
from edge_gateway.clients.availability import DEFAULT_CHANNEL, AvailabilityCache
from edge_gateway.clients.entries import Entry

LOW_THRESHOLD_DEFAULT: Final = 5
QUANTITY_CAP_DEFAULT: Final = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """The view of one entry. `etag` is empty where the log is not known."""

    entry: Entry
    status: storefront_pb2.StockStatus.ValueType
    quantity_capped: int
    etag: str

    def response(self) -> storefront_pb2.GetStorefrontAvailabilityResponse:
        """On the wire."""
        return storefront_pb2.GetStorefrontAvailabilityResponse(
            sku=self.entry.sku,
            channel=self.entry.channel,
            status=self.status,
            quantity_capped=self.quantity_capped,
        )


class Storefront:
    """The public view of the cache. Callers have no grant that could be checked."""

    def __init__(
        self,
        cache: AvailabilityCache,
        *,
        low_threshold: int = LOW_THRESHOLD_DEFAULT,
        quantity_cap: int = QUANTITY_CAP_DEFAULT,
    ) -> None:
        """Up to `low_threshold` units are `LOW`; of more than `quantity_cap` nobody is told."""
        self._cache = cache
        self._low_threshold = low_threshold
        self._quantity_cap = quantity_cap

    def find(self, sku: str, channel: str) -> Shown | None:
        """What is in memory; `channel` may be empty for `default`."""
        entry = self._cache.find(sku, channel or DEFAULT_CHANNEL)
        return None if entry is None else self._show(entry)

    async def get(self, sku: str, channel: str) -> Shown:
        """What is in memory, else what inventory says. The names must have passed the contract's rules.

        Raises:
            UnknownSku, UnknownChannel, TooManyRequests, Unavailable
        """
        return self._show(await self._cache.get(sku, channel or DEFAULT_CHANNEL, anonymous=True))

    def _show(self, entry: Entry) -> Shown:
        quantity = min(entry.sellable, self._quantity_cap)
        if entry.sellable > self._low_threshold:
            status = storefront_pb2.STOCK_STATUS_IN_STOCK
        elif entry.sellable > 0:
            status = storefront_pb2.STOCK_STATUS_LOW
        else:
            status = storefront_pb2.STOCK_STATUS_OUT
        etag = f"{entry.log_tag}-{status}-{quantity}" if entry.log_tag else ""
        return Shown(entry, status, quantity, etag)
