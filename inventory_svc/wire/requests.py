"""What callers ask for, as domain commands. Bounds are checked already: `buf.validate` states them in the contract."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

from beautymesh.inventory.v1 import catalogue_pb2, reservation_pb2, stock_pb2
from inventory_svc.domain.catalogue import Location, LocationKind, Sku, UpsertLocations, UpsertSkus
from inventory_svc.domain.movements import Adjust, Receive, SetCounts, SetLine
from inventory_svc.domain.reservations import Commit, Extend, Release, Reserve, Ship, State
from inventory_svc.domain.stock import DEFAULT_CHANNEL, LevelKey
from meshkit.rpc.times import moment, span

HOLD_DEFAULT = timedelta(seconds=900)

_LOCATION_KINDS = {
    catalogue_pb2.LOCATION_KIND_UNSPECIFIED: LocationKind.WAREHOUSE,
    catalogue_pb2.LOCATION_KIND_WAREHOUSE: LocationKind.WAREHOUSE,
    catalogue_pb2.LOCATION_KIND_STORE: LocationKind.STORE,
    catalogue_pb2.LOCATION_KIND_DISTRIBUTION_CENTER: LocationKind.DISTRIBUTION_CENTER,
    catalogue_pb2.LOCATION_KIND_MARKETPLACE_FULFILMENT: LocationKind.MARKETPLACE_FULFILMENT,
    catalogue_pb2.LOCATION_KIND_IN_TRANSIT: LocationKind.IN_TRANSIT,
}


_STATES = {reservation_pb2.ReservationState.Value(f"RESERVATION_STATE_{state.name}"): state for state in State}


class _Keyed(Protocol):
    sku: str
    location: str
    lot: str


class _Line(_Keyed, Protocol):
    quantity: int


def key(message: _Keyed) -> LevelKey:
    """The level that a line or key names."""
    return LevelKey(message.sku, message.location, message.lot)


def upsert_skus(request: catalogue_pb2.BatchUpsertSkusRequest) -> UpsertSkus:
    """The command."""
    return UpsertSkus(
        tuple(
            Sku(each.sku, each.name, each.product, each.brand, each.category, tuple(sorted(each.attributes.items())))
            for each in request.skus
        )
    )


def upsert_locations(request: catalogue_pb2.BatchUpsertLocationsRequest) -> UpsertLocations:
    """The command."""
    return UpsertLocations(
        tuple(Location(each.location, each.name, _LOCATION_KINDS[each.kind]) for each in request.locations)
    )


def receive(request: stock_pb2.ReceiveStockRequest) -> Receive:
    """The command."""
    return Receive(_lines(request.lines))


def adjust(request: stock_pb2.AdjustStockRequest) -> Adjust:
    """The command."""
    reason = stock_pb2.AdjustReason.Name(request.reason).removeprefix("ADJUST_REASON_").lower()
    return Adjust(_lines(request.lines), reason)


def set_counts(request: stock_pb2.SetStockRequest) -> SetCounts:
    """The command."""
    lines = tuple(
        SetLine(key(line), line.quantity, line.expected_revision if line.HasField("expected_revision") else None)
        for line in request.lines
    )
    return SetCounts(lines)


def reserve(request: reservation_pb2.ReserveStockRequest, new_id: str) -> Reserve:
    """The command, which will make the reservation that the request names, else `new_id`.

    Raises:
        InvalidRequest: the expiry is in no year that there is.
    """
    expire_time = moment(request.expire_time, "expire_time") if request.HasField("expire_time") else None
    command = reserve_entry(request, request.reservation_id or new_id)
    return command._replace(expire_time=expire_time, id_chosen=bool(request.reservation_id))


def reserve_entry(
    entry: reservation_pb2.ReserveStockRequest | reservation_pb2.ReserveEntry, reservation_id: str
) -> Reserve:
    """What one reservation of a batch and one by itself have in common."""
    ttl = span(entry.ttl) if entry.HasField("ttl") else HOLD_DEFAULT
    return Reserve(reservation_id, _lines(entry.lines), ttl, entry.channel or DEFAULT_CHANNEL)


def extend(request: reservation_pb2.ExtendReservationRequest, *, any_client: bool) -> Extend:
    """The command."""
    ttl = span(request.ttl) if request.HasField("ttl") else HOLD_DEFAULT
    return Extend(request.reservation_id, ttl, any_client)


def commit(request: reservation_pb2.CommitReservationRequest, *, any_client: bool) -> Commit:
    """The command."""
    return Commit(request.reservation_id, request.order_reference, any_client)


def release(request: reservation_pb2.ReleaseReservationRequest, *, any_client: bool) -> Release:
    """The command."""
    return Release(request.reservation_id, any_client, in_saga=request.context.HasField("saga"))


def ship(request: reservation_pb2.ShipAllocationRequest) -> Ship:
    """The command."""
    return Ship(request.reservation_id, _lines(request.lines))


def location_kind(kind: catalogue_pb2.LocationKind.ValueType) -> LocationKind | None:
    """The kind that a list asks for; None for all."""
    return _LOCATION_KINDS[kind] if kind else None


def state(value: reservation_pb2.ReservationState.ValueType) -> State | None:
    """The state that a list asks for; None for all."""
    return _STATES.get(value)


def _lines(lines: Iterable[_Line]) -> tuple[tuple[LevelKey, int], ...]:
    return tuple([(LevelKey(line.sku, line.location, line.lot), line.quantity) for line in lines])
