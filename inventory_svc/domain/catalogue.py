"""SKUs and locations: becoming known, changing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from inventory_svc.errors import DuplicateLine


class Sku(NamedTuple):
    """One sellable variant. `attributes` are pairs in order of name."""

    sku: str
    name: str
    product: str = ""
    brand: str = ""
    category: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


class LocationKind(Enum):
    """What sort of place a location is."""

    WAREHOUSE = "warehouse"
    STORE = "store"
    DISTRIBUTION_CENTER = "distribution_center"
    MARKETPLACE_FULFILMENT = "marketplace_fulfilment"
    IN_TRANSIT = "in_transit"


class Location(NamedTuple):
    """A place that holds stock."""

    location: str
    name: str
    kind: LocationKind = LocationKind.WAREHOUSE


class SkuUpserted(NamedTuple):
    """The SKU as it is now."""

    sku: Sku


class LocationUpserted(NamedTuple):
    """The location as it is now."""

    location: Location


class UpsertSkus(NamedTuple):
    """Make these SKUs known, or replace what is known of them."""

    skus: tuple[Sku, ...]


class UpsertLocations(NamedTuple):
    """Make these locations known, or replace what is known of them."""

    locations: tuple[Location, ...]


class Upserted(NamedTuple):
    """How many were new, different, the same; and the revision after the command."""

    created: int
    updated: int
    unchanged: int
    revision: int


N = TypeVar("N", Sku, Location)


def compare(wanted: Sequence[N], known: Mapping[str, N]) -> tuple[list[N], int, int]:
    """The ones that are new or different, with the counts of new and of different. Codes are the first field.

    Raises:
        DuplicateLine: a code stands twice.
    """
    seen: set[str] = set()
    changed: list[N] = []
    created = 0
    for noun in wanted:
        code = noun[0]
        if code in seen:
            raise DuplicateLine(f"{code} stands twice in the request", metadata={"code": code})
        seen.add(code)
        if code not in known:
            created += 1
        elif known[code] == noun:
            continue
        changed.append(noun)
    return changed, created, len(changed) - created
