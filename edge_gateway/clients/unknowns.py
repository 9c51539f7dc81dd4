"""What inventory has just said that it does not know: asked for again, it is not worth a call.

Nothing tells that a name has become known, but for its first stock. So it is remembered for a second only, counted from
when inventory was asked: that is how late a new SKU, or a new channel, may be.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from beautymesh.inventory.v1.watch_pb2 import StockDelta
from edge_gateway.clients.entries import Unknown
from meshkit.core.errors import MeshError

KEPT_SECONDS: Final = 1.0
KEPT_MAX: Final = 10_000
"""Names that are remembered; the one that was asked for longest ago goes first."""

_ANY_SKU: Final = ""
"""Stands for all SKUs of a channel that is unknown itself; no SKU is empty."""


class Unknowns:
    """SKUs of a channel, and channels with inventory's refusal."""

    def __init__(self, *, clock_seconds: Callable[[], float]) -> None:
        """`clock_seconds` only ever rises."""
        self._clock_seconds = clock_seconds
        self._kept: OrderedDict[tuple[str, str], tuple[float, Unknown | MeshError]] = OrderedDict()

    def find(self, sku: str, channel: str) -> Unknown | MeshError | None:
        """The SKU, or the refusal of its channel, if inventory was asked less than a second ago."""
        for key in ((sku, channel), (_ANY_SKU, channel)):
            kept = self._kept.get(key)
            if kept is None:
                continue
            asked_seconds, unknown = kept
            if self._clock_seconds() - asked_seconds < KEPT_SECONDS:
                self._kept.move_to_end(key)
                return unknown
            del self._kept[key]
        return None

    def keep_sku(self, unknown: Unknown, *, asked_seconds: float) -> None:
        """`asked_seconds` is the clock's time when the call was sent."""
        self._keep((unknown.sku, unknown.channel), unknown, asked_seconds)

    def keep_channel(self, channel: str, refusal: MeshError, *, asked_seconds: float) -> None:
        """The same for a channel, whatever the SKU."""
        self._keep((_ANY_SKU, channel), refusal, asked_seconds)

    def apply(self, deltas: Iterable[StockDelta]) -> None:
        """Forgets what the stream tells of."""
        if not self._kept:
            return
        for delta in deltas:
            self._kept.pop((delta.sellable.sku, delta.sellable.channel), None)
            self._kept.pop((_ANY_SKU, delta.sellable.channel), None)

    def clear(self) -> None:
        """A stream begins that does not go on where the last one ended."""
        self._kept.clear()

    def _keep(self, key: tuple[str, str], unknown: Unknown | MeshError, asked_seconds: float) -> None:
        self._kept[key] = asked_seconds, unknown
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
