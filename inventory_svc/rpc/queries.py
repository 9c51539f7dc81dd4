"""The RPCs that read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.inventory.v1 import availability_pb2, catalogue_pb2, reservation_pb2, stock_pb2
from inventory_svc.domain.stock import DEFAULT_CHANNEL, Counters, LevelKey
from inventory_svc.errors import UnknownSku
from inventory_svc.rpc.commands import OPERATE
from inventory_svc.store.keys import level_key
from inventory_svc.store.lists import ReservationFilter, SkuFilter, read_location_page, read_sku_page
from inventory_svc.store.queries import LevelRow, list_events, read_level_page
from inventory_svc.usecases.availability import get_availabilities
from inventory_svc.usecases.reservation import get_reservation, list_reservations
from inventory_svc.usecases.verify_ledger import verify_ledger
from inventory_svc.wire import events, replies, requests
from meshkit.core.clock import Clock
from meshkit.core.errors import InvalidRequest, RevisionInFuture
from meshkit.log.reader import balances_as_of, read_head, revision_at
from meshkit.rpc.call import Call
from meshkit.rpc.paging import page_position, page_token
from meshkit.rpc.times import moment

PAGE_ROWS_DEFAULT = 100

_ListRequest = (
    catalogue_pb2.ListSkusRequest | catalogue_pb2.ListLocationsRequest | reservation_pb2.ListReservationsRequest
)


class Visibility(Protocol):
    """Knows up to which revision this process can read."""

    async def wait_for(self, revision: int, deadline: float | None) -> None:
        """Returns once the revision is visible; raises RevisionNotYetVisible shortly before the deadline."""
        ...


class QueryRpcs:
    """The half of the servicer that reads."""

    def __init__(self, *, engine: AsyncEngine, clock: Clock, visibility: Visibility) -> None:
        """Reads through `engine`, which must not be a replica: revisions are the primary's."""
        self._engine = engine
        self._clock = clock
        self._visibility = visibility

    async def GetAvailability(
        self, request: availability_pb2.GetAvailabilityRequest, call: Call
    ) -> availability_pb2.GetAvailabilityResponse:
        """What a channel may sell of one SKU now."""
        call.principal.require_channel(request.channel or DEFAULT_CHANNEL)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        found = await get_availabilities(
            self._engine, self._clock, [request.sku], channel=request.channel, with_levels=request.include_levels
        )
        if found.unknown:
            raise UnknownSku(f"unknown SKU {request.sku}", metadata={"sku": request.sku})
        return availability_pb2.GetAvailabilityResponse(
            availability=replies.availability(found.known[0], call.principal), revision=found.revision
        )

    async def BatchGetAvailability(
        self, request: availability_pb2.BatchGetAvailabilityRequest, call: Call
    ) -> availability_pb2.BatchGetAvailabilityResponse:
        """What a channel may sell of many SKUs now."""
        call.principal.require_channel(request.channel or DEFAULT_CHANNEL)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        found = await get_availabilities(
            self._engine, self._clock, request.skus, channel=request.channel, with_levels=request.include_levels
        )
        return availability_pb2.BatchGetAvailabilityResponse(
            availabilities=[replies.availability(each, call.principal) for each in found.known],
            unknown_skus=found.unknown,
            revision=found.revision,
        )

    async def GetReservation(
        self, request: reservation_pb2.GetReservationRequest, call: Call
    ) -> reservation_pb2.GetReservationResponse:
        """One reservation of the caller's own."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        found, revision = await get_reservation(
            self._engine,
            self._clock,
            request.reservation_id,
            client_id=call.principal.client_id,
            any_client=OPERATE in call.principal.scopes,
            locations=call.principal.locations,
        )
        return reservation_pb2.GetReservationResponse(reservation=replies.reservation(found), revision=revision)

    async def ListReservations(
        self, request: reservation_pb2.ListReservationsRequest, call: Call
    ) -> reservation_pb2.ListReservationsResponse:
        """Reservations of the caller's own; staff see those of all clients."""
        if request.location:
            call.principal.require_location(request.location)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        wanted = ReservationFilter(
            client_id="" if OPERATE in call.principal.scopes else call.principal.client_id,
            state=requests.state(request.state),
            sku=request.sku,
            location=request.location,
            order_reference=request.order_reference,
            only_locations=call.principal.locations,
        )
        page = await list_reservations(
            self._engine, self._clock, wanted, after=_after_code(request), rows_max=_rows_max(request)
        )
        return reservation_pb2.ListReservationsResponse(
            reservations=[replies.reservation(each) for each in page.rows],
            next_page_token=page_token(request, [page.rows[-1].reservation_id]) if page.more else "",
            revision=page.revision,
        )

    async def ListSkus(self, request: catalogue_pb2.ListSkusRequest, call: Call) -> catalogue_pb2.ListSkusResponse:
        """What is sold."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        wanted = SkuFilter(request.skus, request.product, request.brand, request.category)
        page = await read_sku_page(self._engine, wanted, after=_after_code(request), rows_max=_rows_max(request))
        return catalogue_pb2.ListSkusResponse(
            skus=[replies.sku(each) for each in page.rows],
            next_page_token=page_token(request, [page.rows[-1].sku]) if page.more else "",
            revision=page.revision,
        )

    async def ListLocations(
        self, request: catalogue_pb2.ListLocationsRequest, call: Call
    ) -> catalogue_pb2.ListLocationsResponse:
        """Where stock lies: every place that the caller may see."""
        for location in request.locations:
            call.principal.require_location(location)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        page = await read_location_page(
            self._engine,
            locations=request.locations or sorted(call.principal.locations),
            kind=requests.location_kind(request.kind),
            after=_after_code(request),
            rows_max=_rows_max(request),
        )
        return catalogue_pb2.ListLocationsResponse(
            locations=[replies.location(each) for each in page.rows],
            next_page_token=page_token(request, [page.rows[-1].location]) if page.more else "",
            revision=page.revision,
        )

    async def ListStockLevels(
        self, request: stock_pb2.ListStockLevelsRequest, call: Call
    ) -> stock_pb2.ListStockLevelsResponse:
        """Levels by SKU and location."""
        if request.location:
            call.principal.require_location(request.location)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str, str, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows, revision = await read_level_page(
            self._engine,
            skus=request.skus,
            locations=[request.location] if request.location else sorted(call.principal.locations),
            after=LevelKey(*position) if position else LevelKey("", "", ""),
            rows_max=rows_max + 1,
            now=self._clock.now(),
        )
        more = len(rows) > rows_max
        return stock_pb2.ListStockLevelsResponse(
            levels=[replies.stock_level(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, rows[rows_max - 1].key) if more else "",
            revision=revision,
        )

    async def ListStockEvents(
        self, request: stock_pb2.ListStockEventsRequest, call: Call
    ) -> stock_pb2.ListStockEventsResponse:
        """The log, oldest first. Who may see certain locations only must name one."""
        if request.location and not request.sku:
            raise InvalidRequest.of("location", "needs sku")
        if request.location or call.principal.locations:
            call.principal.require_location(request.location)
        position = page_position(request, request.page_token, int, int)
        revision, index = position or (request.after_revision, 2**31 - 1)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows = await list_events(
            self._engine,
            after=(revision, index),
            sku=request.sku,
            location=request.location,
            rows_max=rows_max + 1,
        )
        more = len(rows) > rows_max
        last = rows[rows_max - 1] if more else None
        return stock_pb2.ListStockEventsResponse(
            events=[events.stock_event(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, (last.revision, last.index)) if last else "",
        )

    async def GetStockAsOf(self, request: stock_pb2.GetStockAsOfRequest, call: Call) -> stock_pb2.GetStockAsOfResponse:
        """Levels as they were."""
        for key in request.keys:
            call.principal.require_location(key.location)
        head = await read_head(self._engine)
        if request.HasField("record_time"):
            revision = await revision_at(self._engine, moment(request.record_time, "record_time"))
        else:
            revision = request.revision
        if revision > head.revision:
            metadata = {"revision": str(revision), "head": str(head.revision)}
            raise RevisionInFuture(
                f"revision {revision} is not written yet; the last is {head.revision}", metadata=metadata
            )
        keys = [requests.key(each) for each in request.keys]
        found = await balances_as_of(self._engine, [level_key(each) for each in keys], revision)
        rows = []
        for each in keys:
            changed, balances = found.get(level_key(each), (0, (0, 0, 0, 0)))
            rows.append(LevelRow(each, Counters(*balances), changed))
        return stock_pb2.GetStockAsOfResponse(levels=[replies.stock_level(row) for row in rows], revision=revision)

    async def VerifyLedger(
        self, request: stock_pb2.VerifyLedgerRequest, call: Call
    ) -> AsyncIterator[stock_pb2.VerifyLedgerResponse]:
        """Checks log and projections, saying what it finds as it goes."""
        del request, call
        async for step in verify_ledger(self._engine):
            yield replies.verify_step(step)


def _after_code(request: _ListRequest) -> str:
    """The code behind which the page begins, in a list by code."""
    position = page_position(request, request.page_token, str)
    return position[0] if position else ""


def _rows_max(request: _ListRequest) -> int:
    return request.page_size or PAGE_ROWS_DEFAULT
