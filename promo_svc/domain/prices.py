"""The price list: what one SKU costs from a time on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from promo_svc.errors import DuplicateLine

ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
"""`valid_from` of a price that was always valid: the earliest time that there is."""
DEFAULT_CHANNEL = "default"


class PriceKey(NamedTuple):
    """Names one price. An empty `channel` means all channels that have no price of their own."""

    sku: str
    channel: str
    currency: str
    valid_from: datetime


class Price(NamedTuple):
    """One unit's price, and whether the tax is in it."""

    key: PriceKey
    price_minor: int
    tax_included: bool


class PriceSet(NamedTuple):
    """The price as it is now, and as it was."""

    price: Price
    before: Price | None


class UpsertPrices(NamedTuple):
    """Make these prices known, or replace what is known under their keys."""

    prices: tuple[Price, ...]


class PricesUpserted(NamedTuple):
    """How many were new, different, the same; and the revision after the command."""

    created: int
    updated: int
    unchanged: int
    revision: int


def compare(wanted: Sequence[Price], known: Mapping[PriceKey, Price]) -> list[PriceSet]:
    """The ones that are new or different.

    Raises:
        DuplicateLine: a key stands twice.
    """
    seen: set[PriceKey] = set()
    changed: list[PriceSet] = []
    for price in wanted:
        key = price.key
        if key in seen:
            metadata = {"sku": key.sku, "channel": key.channel, "currency": key.currency}
            if key.valid_from != ALWAYS:
                metadata["valid_from"] = key.valid_from.isoformat()
            raise DuplicateLine(f"the price of {key.sku} in {key.currency} stands twice", metadata=metadata)
        seen.add(key)
        before = known.get(key)
        if before != price:
            changed.append(PriceSet(price, before))
    return changed
