"""The RPCs that change something: each becomes a command of the log kernel, whose reply goes out as it was stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from beautymesh.inventory.v1 import catalogue_pb2, reservation_pb2, stock_pb2
from inventory_svc.domain.decide import Body
from inventory_svc.domain.stock import DEFAULT_CHANNEL
from inventory_svc.store.log import InventoryWriter
from inventory_svc.wire import replies, requests
from meshkit.core.errors import InvalidRequest, Kind, MeshError
from meshkit.core.principal import Principal
from meshkit.log.from_rpc import command_from
from meshkit.log.model import Command
from meshkit.rpc.call import Call

OPERATE = "inventory.operate"
"""The scope of staff: act on reservations of any client."""
BATCH_LINES_MAX = 5_000
RESERVATION_WEIGHT = 10
"""Lines that a command on a reservation counts for; how many it has is known only once it is loaded."""
_DECIDED = frozenset({Kind.NOT_FOUND, Kind.REFUSED})
"""Kinds of refusal that one of several reservations may have while the others stand."""

_Request = (
    catalogue_pb2.BatchUpsertSkusRequest
    | catalogue_pb2.BatchUpsertLocationsRequest
    | stock_pb2.ReceiveStockRequest
    | stock_pb2.AdjustStockRequest
    | stock_pb2.SetStockRequest
    | reservation_pb2.ReserveStockRequest
    | reservation_pb2.BatchReserveStockRequest
    | reservation_pb2.ExtendReservationRequest
    | reservation_pb2.CommitReservationRequest
    | reservation_pb2.ReleaseReservationRequest
    | reservation_pb2.ShipAllocationRequest
)


class CommandRpcs:
    """The half of the servicer that writes."""

    def __init__(self, *, writer: InventoryWriter, fingerprint_key: bytes, new_id: Callable[[], str]) -> None:
        """`fingerprint_key` is the log's own."""
        self._writer = writer
        self._fingerprint_key = fingerprint_key
        self._new_id = new_id

    async def BatchUpsertSkus(self, request: catalogue_pb2.BatchUpsertSkusRequest, call: Call) -> bytes:
        """Makes SKUs known or replaces what is known of them."""
        return await self._submit(request, call, requests.upsert_skus(request), weight=len(request.skus))

    async def BatchUpsertLocations(self, request: catalogue_pb2.BatchUpsertLocationsRequest, call: Call) -> bytes:
        """Makes locations known or replaces what is known of them."""
        _require_locations(call.principal, (place.location for place in request.locations))
        return await self._submit(request, call, requests.upsert_locations(request), weight=len(request.locations))

    async def ReceiveStock(self, request: stock_pb2.ReceiveStockRequest, call: Call) -> bytes:
        """Adds units that arrived."""
        _require_locations(call.principal, (line.location for line in request.lines))
        return await self._submit(request, call, requests.receive(request), weight=len(request.lines))

    async def AdjustStock(self, request: stock_pb2.AdjustStockRequest, call: Call) -> bytes:
        """Adds or takes away units for a reason."""
        _require_locations(call.principal, (line.location for line in request.lines))
        return await self._submit(request, call, requests.adjust(request), weight=len(request.lines))

    async def SetStock(self, request: stock_pb2.SetStockRequest, call: Call) -> bytes:
        """Replaces on_hand by a count."""
        _require_locations(call.principal, (line.location for line in request.lines))
        return await self._submit(request, call, requests.set_counts(request), weight=len(request.lines))

    async def ReserveStock(self, request: reservation_pb2.ReserveStockRequest, call: Call) -> bytes:
        """Holds units for a cart."""
        _require_grant(call.principal, request)
        return await self._submit(request, call, requests.reserve(request, self._new_id()), weight=len(request.lines))

    async def BatchReserveStock(
        self, request: reservation_pb2.BatchReserveStockRequest, call: Call
    ) -> reservation_pb2.BatchReserveStockResponse:
        """Holds units for many carts at once, each for itself.

        Each becomes a command under `<request_id>#<position>`, so that a repeat finds what was held. What the rules
        refuse is a result; any other fault is the whole call's, because a repeat of it may succeed.
        """
        lines = sum(len(entry.lines) for entry in request.reservations)
        if lines > BATCH_LINES_MAX:
            raise InvalidRequest.of("reservations", f"{lines} lines altogether; at most {BATCH_LINES_MAX}")
        for entry in request.reservations:
            _require_grant(call.principal, entry)
        whole = self._command(request, call, requests.reserve_entry(request.reservations[0], ""), weight=1)
        commands: list[Command[Body]] = [
            Command(
                body=requests.reserve_entry(entry, self._new_id()),
                method=whole.method,
                request_id=f"{request.request_id}#{position}",
                origin=replace(whole.origin, reference=entry.reference) if entry.reference else whole.origin,
                fingerprint=whole.fingerprint,
                field_names=whole.field_names,
                weight=len(entry.lines),
                fence=whole.fence,
                deadline=whole.deadline,
                group_id=request.request_id,
            )
            for position, entry in enumerate(request.reservations)
        ]
        outcomes = await self._writer.submit_all(commands)
        for outcome in outcomes:
            if isinstance(outcome, MeshError) and outcome.kind not in _DECIDED:
                raise outcome
        results = [replies.reserve_result(each if isinstance(each, MeshError) else each.reply) for each in outcomes]
        return reservation_pb2.BatchReserveStockResponse(results=results)

    async def ExtendReservation(self, request: reservation_pb2.ExtendReservationRequest, call: Call) -> bytes:
        """Lets a hold lapse later."""
        return await self._submit(
            request, call, requests.extend(request, any_client=_operates(call)), weight=RESERVATION_WEIGHT
        )

    async def CommitReservation(self, request: reservation_pb2.CommitReservationRequest, call: Call) -> bytes:
        """Turns a hold into an allocation."""
        return await self._submit(
            request, call, requests.commit(request, any_client=_operates(call)), weight=RESERVATION_WEIGHT
        )

    async def ReleaseReservation(self, request: reservation_pb2.ReleaseReservationRequest, call: Call) -> bytes:
        """Gives a hold back."""
        return await self._submit(
            request, call, requests.release(request, any_client=_operates(call)), weight=RESERVATION_WEIGHT
        )

    async def ShipAllocation(self, request: reservation_pb2.ShipAllocationRequest, call: Call) -> bytes:
        """Lets allocated units leave."""
        return await self._submit(request, call, requests.ship(request), weight=RESERVATION_WEIGHT)

    async def _submit(self, request: _Request, call: Call, body: Body, *, weight: int) -> bytes:
        answer = await self._writer.submit(self._command(request, call, body, weight=weight))
        return answer.reply

    def _command(self, request: _Request, call: Call, body: Body, *, weight: int) -> Command[Body]:
        return command_from(request, call, body, key=self._fingerprint_key, weight=weight)


def _operates(call: Call) -> bool:
    return OPERATE in call.principal.scopes


def _require_grant(
    principal: Principal, request: reservation_pb2.ReserveStockRequest | reservation_pb2.ReserveEntry
) -> None:
    principal.require_channel(request.channel or DEFAULT_CHANNEL)
    _require_locations(principal, (line.location for line in request.lines))


def _require_locations(principal: Principal, locations: Iterable[str]) -> None:
    if principal.locations:
        for location in locations:
            principal.require_location(location)
