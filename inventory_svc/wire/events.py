"""What happened, as the log keeps it and as callers list it.

The payload of an event is the message that also stands in `StockEvent.change`, so what is hashed is what is shown.
"""

from __future__ import annotations

from google.protobuf.message import Message

from beautymesh.inventory.v1 import catalogue_pb2, stock_pb2
from inventory_svc.domain.catalogue import Location, LocationUpserted, Sku, SkuUpserted
from inventory_svc.domain.decide import Event, ReservationExtended
from inventory_svc.domain.stock import Counters, Kind, LevelChanged, SellableChanged
from inventory_svc.store.keys import LOCATION, RESERVATION, SKU, level_key, noun_key, sellable_key
from meshkit.log.model import EventRow, Record
from meshkit.rpc.times import timestamp

SERVICE = "inventory"
KINDS = {kind.value: stock_pb2.StockEventKind.Value(f"STOCK_EVENT_KIND_{kind.name}") for kind in Kind}
_LEVEL_KINDS = frozenset(kind.value for kind in Kind) - {
    Kind.SKU_UPSERTED.value,
    Kind.LOCATION_UPSERTED.value,
    Kind.RESERVATION_EXTENDED.value,
    Kind.SELLABLE_CHANGED.value,
}


def counters(value: Counters) -> stock_pb2.Counters:
    """The counters as a message."""
    on_hand, unavailable, reserved, allocated = value
    return stock_pb2.Counters(on_hand=on_hand, unavailable=unavailable, reserved=reserved, allocated=allocated)


def sku_message(sku: Sku) -> catalogue_pb2.Sku:
    """The SKU as a message."""
    return catalogue_pb2.Sku(
        sku=sku.sku,
        name=sku.name,
        product=sku.product,
        brand=sku.brand,
        category=sku.category,
        attributes=dict(sku.attributes),
    )


def location_message(place: Location) -> catalogue_pb2.Location:
    """The location as a message."""
    kind = catalogue_pb2.LocationKind.Value(f"LOCATION_KIND_{place.kind.name}")
    return catalogue_pb2.Location(location=place.location, name=place.name, kind=kind)


def record(event: Event) -> Record:
    """The event as a row of the log. Four counters for a level, one for a sellable quantity, none for nouns."""
    match event:
        case LevelChanged():
            return _level_record(event)
        case SellableChanged():
            message: Message = stock_pb2.SellableDelta(
                sku=event.sku, channel=event.channel, before=event.before, after=event.after
            )
            return Record(
                kind=Kind.SELLABLE_CHANGED.value,
                key=sellable_key(event.sku, event.channel),
                payload=message.SerializeToString(),
                deltas=(event.after - event.before,),
                balances=(event.after,),
                channel=event.channel,
            )
        case SkuUpserted():
            message = sku_message(event.sku)
            payload = message.SerializeToString(deterministic=True)
            return Record(Kind.SKU_UPSERTED.value, noun_key(SKU, event.sku.sku), payload)
        case LocationUpserted():
            message = location_message(event.location)
            key = noun_key(LOCATION, event.location.location)
            return Record(Kind.LOCATION_UPSERTED.value, key, message.SerializeToString())
        case ReservationExtended():
            message = stock_pb2.ReservationExtended(
                reservation_id=event.reservation_id, expire_time=timestamp(event.expire_time)
            )
            return Record(
                kind=Kind.RESERVATION_EXTENDED.value,
                key=noun_key(RESERVATION, event.reservation_id),
                payload=message.SerializeToString(),
                channel=event.channel,
            )


def _level_record(event: LevelChanged) -> Record:
    before, after = event.before, event.after
    message = stock_pb2.LevelDelta(
        sku=event.key.sku,
        location=event.key.location,
        lot=event.key.lot,
        before=counters(before),
        after=counters(after),
        reservation_id=event.reservation_id,
        expire_time=timestamp(event.expire_time) if event.expire_time else None,
        order_reference=event.order_reference,
        reason=stock_pb2.AdjustReason.Value(f"ADJUST_REASON_{event.reason.upper() or 'UNSPECIFIED'}"),
    )
    return Record(
        kind=event.kind.value,
        key=level_key(event.key),
        payload=message.SerializeToString(),
        deltas=(after[0] - before[0], after[1] - before[1], after[2] - before[2], after[3] - before[3]),
        balances=after,
        channel=event.channel,
    )


def stock_event(row: EventRow) -> stock_pb2.StockEvent:
    """A row of the log as callers list it."""
    event = stock_pb2.StockEvent(
        event_id=f"{SERVICE}/{row.revision}/{row.index}",
        revision=row.revision,
        index=row.index,
        kind=KINDS[row.kind],
        principal=row.principal,
        client_id=row.client_id,
        request_id=row.request_id,
        reference=row.reference,
        channel=row.channel,
        occur_time=timestamp(row.occur_time),
        record_time=timestamp(row.record_time),
        traceparent=row.traceparent,
    )
    if row.kind in _LEVEL_KINDS:
        event.level.MergeFromString(row.payload)
    elif row.kind == Kind.SELLABLE_CHANGED.value:
        event.sellable.MergeFromString(row.payload)
    elif row.kind == Kind.SKU_UPSERTED.value:
        event.sku.MergeFromString(row.payload)
    elif row.kind == Kind.LOCATION_UPSERTED.value:
        event.location.MergeFromString(row.payload)
    else:
        event.extended.MergeFromString(row.payload)
    return event
