"""What callers get."""

from __future__ import annotations

from google.protobuf.message import Message

from beautymesh.inventory.v1 import availability_pb2, catalogue_pb2, reservation_pb2, stock_pb2
from inventory_svc.domain.catalogue import Location, Sku, Upserted
from inventory_svc.domain.decide import Reply
from inventory_svc.domain.movements import Moved
from inventory_svc.domain.reservations import Reservation, Reserved, Settled, Shipped, State
from inventory_svc.store.queries import Availability, LevelRow
from inventory_svc.wire.events import counters
from meshkit.core.errors import MeshError
from meshkit.core.principal import Principal
from meshkit.log.audit import Step
from meshkit.rpc.times import timestamp

OPEN, CLOSED = reservation_pb2.ALLOCATION_STATE_OPEN, reservation_pb2.ALLOCATION_STATE_CLOSED


def encode(reply: Reply) -> bytes:
    """A reply as it goes to the caller and is kept for repeats.

    RPCs that give the same domain reply have answers with the same fields under the same numbers (a test holds that),
    so one message stands for all of them: ReceiveStockResponse for adjust and set, ReserveStockResponse for extend,
    CommitReservationResponse for release, BatchUpsertSkusResponse for locations.
    """
    message: Message
    match reply:
        case Reserved():
            message = reservation_pb2.ReserveStockResponse(
                reservation_id=reply.reservation_id, expire_time=timestamp(reply.expire_time), revision=reply.revision
            )
        case Moved():
            message = stock_pb2.ReceiveStockResponse(revision=reply.revision)
        case Settled():
            message = reservation_pb2.CommitReservationResponse(
                reservation_id=reply.reservation_id, revision=reply.revision
            )
        case Shipped():
            message = reservation_pb2.ShipAllocationResponse(
                reservation_id=reply.reservation_id,
                allocation_state=CLOSED if reply.closed else OPEN,
                revision=reply.revision,
            )
        case Upserted():
            message = catalogue_pb2.BatchUpsertSkusResponse(
                created=reply.created, updated=reply.updated, unchanged=reply.unchanged, revision=reply.revision
            )
    return message.SerializeToString()


def reserve_result(outcome: bytes | MeshError) -> reservation_pb2.ReserveResult:
    """One result of several."""
    if isinstance(outcome, MeshError):
        refusal = reservation_pb2.Refusal(
            reason=outcome.reason, message=outcome.message, metadata=dict(outcome.metadata)
        )
        return reservation_pb2.ReserveResult(refused=refusal)
    return reservation_pb2.ReserveResult(reserved=reservation_pb2.ReserveStockResponse.FromString(outcome))


def stock_level(row: LevelRow) -> stock_pb2.StockLevel:
    """A level as callers see it."""
    return stock_pb2.StockLevel(
        sku=row.key.sku,
        location=row.key.location,
        lot=row.key.lot,
        counters=counters(row.counters),
        available=row.counters.available,
        revision=row.revision,
    )


def availability(entry: Availability, principal: Principal) -> availability_pb2.Availability:
    """What a channel may sell, with the levels of those locations that the caller may see."""
    return availability_pb2.Availability(
        sku=entry.sku,
        channel=entry.channel,
        sellable=entry.sellable,
        revision=entry.revision,
        levels=[
            stock_level(row)
            for row in entry.levels
            if not principal.locations or row.key.location in principal.locations
        ],
    )


def sku(known: Sku) -> catalogue_pb2.Sku:
    """A SKU as it was told."""
    return catalogue_pb2.Sku(
        sku=known.sku,
        name=known.name,
        product=known.product,
        brand=known.brand,
        category=known.category,
        attributes=dict(known.attributes),
    )


def location(known: Location) -> catalogue_pb2.Location:
    """A location as it was told."""
    kind = catalogue_pb2.LocationKind.Value(f"LOCATION_KIND_{known.kind.name}")
    return catalogue_pb2.Location(location=known.location, name=known.name, kind=kind)


def reservation(held: Reservation) -> reservation_pb2.Reservation:
    """A reservation as its client sees it."""
    allocation_state = reservation_pb2.ALLOCATION_STATE_UNSPECIFIED
    if held.state is State.COMMITTED:
        allocation_state = CLOSED if held.closed else OPEN
    return reservation_pb2.Reservation(
        reservation_id=held.reservation_id,
        state=reservation_pb2.ReservationState.Value(f"RESERVATION_STATE_{held.state.name}"),
        lines=[
            reservation_pb2.ReservationLine(
                sku=line.key.sku,
                location=line.key.location,
                lot=line.key.lot,
                quantity=line.quantity,
                shipped=line.shipped,
            )
            for line in held.lines
        ],
        channel=held.channel,
        expire_time=timestamp(held.expire_time),
        create_time=timestamp(held.create_time),
        order_reference=held.order_reference,
        allocation_state=allocation_state,
        revision=held.revision,
    )


def verify_step(step: Step) -> stock_pb2.VerifyLedgerResponse:
    """A step of the ledger check."""
    return stock_pb2.VerifyLedgerResponse(
        checked_revision=step.checked_revision,
        head_revision=step.head_revision,
        problems=[
            stock_pb2.LedgerProblem(rule=each.rule, subject=each.subject, expected=each.expected, actual=each.actual)
            for each in step.problems
        ],
        checked_rows=step.checked_rows,
        done=step.done,
    )
