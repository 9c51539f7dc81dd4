"""Counters, levels and the working set that commands are decided against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from inventory_svc.errors import UnknownLocation, UnknownSku

DEFAULT_CHANNEL = "default"
ON_HAND_MAX = 10**12
"""Units that one level may hold; far above any warehouse, far below what 64 bits can sum."""
NAMED_IN_ERROR_MAX = 20
"""How many unknown codes an error names before it only counts them."""


class LevelKey(NamedTuple):
    """Names one level. `lot` is empty until lots are kept."""

    sku: str
    location: str
    lot: str


class Counters(NamedTuple):
    """The stored counters of a level, in sellable units."""

    on_hand: int
    unavailable: int
    reserved: int
    allocated: int

    @property
    def available(self) -> int:
        """on_hand - unavailable - reserved - allocated; signed."""
        return self.on_hand - self.unavailable - self.reserved - self.allocated


EMPTY = Counters(0, 0, 0, 0)


class Kind(Enum):
    """What happened."""

    SKU_UPSERTED = "sku_upserted"
    LOCATION_UPSERTED = "location_upserted"
    STOCK_RECEIVED = "stock_received"
    STOCK_ADJUSTED = "stock_adjusted"
    STOCK_SET = "stock_set"
    STOCK_RESERVED = "stock_reserved"
    RESERVATION_EXTENDED = "reservation_extended"
    RESERVATION_COMMITTED = "reservation_committed"
    RESERVATION_RELEASED = "reservation_released"
    RESERVATION_EXPIRED = "reservation_expired"
    ALLOCATION_SHIPPED = "allocation_shipped"
    SELLABLE_CHANGED = "sellable_changed"


class LevelChanged(NamedTuple):
    """A level's counters went from `before` to `after`. The last four say by which reservation or for which reason."""

    kind: Kind
    key: LevelKey
    before: Counters
    after: Counters
    reservation_id: str = ""
    channel: str = ""
    reason: str = ""
    order_reference: str = ""
    expire_time: datetime | None = None


class SellableChanged(NamedTuple):
    """What a channel may sell of a SKU went from `before` to `after`."""

    sku: str
    channel: str
    before: int
    after: int


class Level(NamedTuple):
    """A level and the revision that last changed it."""

    counters: Counters
    revision: int


class Sellable(NamedTuple):
    """What a channel may sell and the revision that last changed it."""

    units: int
    revision: int


def level_changed(
    kind: Kind,
    key: LevelKey,
    before: Counters,
    after: Counters,
    *,
    reservation_id: str = "",
    channel: str = "",
    reason: str = "",
    order_reference: str = "",
    expire_time: datetime | None = None,
) -> LevelChanged:
    """The event, after asserting I1."""
    assert min(after) >= 0, f"I1: {kind.value} leaves {key} at {after}, from {before}"
    return LevelChanged(kind, key, before, after, reservation_id, channel, reason, order_reference, expire_time)


@dataclass(slots=True)
class Catalogue:
    """Which of the SKUs and locations that a batch names are known."""

    skus: set[str] = field(default_factory=set)
    locations: set[str] = field(default_factory=set)

    def require(self, keys: Iterable[LevelKey]) -> None:
        """Refuses keys whose SKU or location is not known.

        Raises:
            UnknownSku, UnknownLocation: naming the first ones.
        """
        named = list(keys)
        unknown = sorted({key.sku for key in named} - self.skus)
        if unknown:
            raise UnknownSku(f"unknown SKU {unknown[0]}", metadata=_named("sku", unknown))
        unknown = sorted({key.location for key in named} - self.locations)
        if unknown:
            raise UnknownLocation(f"unknown location {unknown[0]}", metadata=_named("location", unknown))


def sellable_changes(
    current: dict[tuple[str, str], Sellable], changes: Iterable[LevelChanged]
) -> list[SellableChanged]:
    """What level changes do to what may be sold (I5), one event for each SKU whose sum changed.

    The sum is carried forward by differences, so that a SKU at 500 locations costs no more than one at a single one.
    """
    differences: dict[str, int] = {}
    for change in changes:
        difference = max(0, change.after.available) - max(0, change.before.available)
        if difference:
            differences[change.key.sku] = differences.get(change.key.sku, 0) + difference
    events = []
    for sku, difference in differences.items():
        if difference:
            entry = current.get((sku, DEFAULT_CHANNEL))
            before = entry.units if entry else 0
            assert before + difference >= 0, f"I5: sellable of {sku} would go from {before} by {difference}"
            events.append(SellableChanged(sku, DEFAULT_CHANNEL, before, before + difference))
    return events


def added_up(lines: Iterable[tuple[LevelKey, int]]) -> dict[LevelKey, int]:
    """The lines of one call with those on the same key added up, in order of the lines: so refusals name them.

    Events and reservations go by key instead; their rules sort.
    """
    totals: dict[LevelKey, int] = {}
    for key, quantity in lines:
        totals[key] = totals.get(key, 0) + quantity
    return totals


def _named(name: str, values: list[str]) -> dict[str, str]:
    return {name: values[0], f"{name}s": " ".join(values[:NAMED_IN_ERROR_MAX]), "count": str(len(values))}
