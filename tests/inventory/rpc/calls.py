"""Requests that are right, to be bent by tests, and how they are sent."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from google.protobuf.message import Message

from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2, reservation_pb2, stock_pb2
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from tests.inventory.clients import Stub


@dataclass(frozen=True, slots=True)
class Shelf:
    """A SKU and a location that no other test knows, with 10 units received."""

    sku: str
    location: str


def name_of(request: Message) -> str:
    """The RPC that takes this request."""
    return request.DESCRIPTOR.name.removesuffix("Request")


async def send(stub: Stub, request: Message) -> Message:
    """Calls the request's RPC; of a stream the first message."""
    method = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"].methods_by_name[name_of(request)]
    answer = getattr(stub, method.name)(request, timeout=10)
    if not method.server_streaming:
        return await answer  # type: ignore[no-any-return]  # the RPC's own type
    async for message in answer:
        return message  # type: ignore[no-any-return]  # see above
    raise AssertionError("an empty stream")


async def refusal(stub: Stub, request: Message) -> MeshError:
    """The refusal of a request that must be refused."""
    with pytest.raises(MeshError) as refused:
        await send(stub, request)
    return refused.value


def reserve(shelf: Shelf, quantity: int = 1, **fields: object) -> reservation_pb2.ReserveStockRequest:
    line = reservation_pb2.ReserveLine(sku=shelf.sku, location=shelf.location, quantity=quantity)
    return reservation_pb2.ReserveStockRequest(**{"request_id": new_id(), "lines": [line], **fields})  # type: ignore[arg-type]  # a table's


def receive(shelf: Shelf, quantity: int = 1, **fields: object) -> stock_pb2.ReceiveStockRequest:
    line = stock_pb2.StockLine(sku=shelf.sku, location=shelf.location, quantity=quantity)
    return stock_pb2.ReceiveStockRequest(**{"request_id": new_id(), "lines": [line], **fields})  # type: ignore[arg-type]  # a table's


def adjust(shelf: Shelf, quantity: int = 1, reason: int = 1) -> stock_pb2.AdjustStockRequest:
    line = stock_pb2.AdjustLine(sku=shelf.sku, location=shelf.location, quantity=quantity)
    return stock_pb2.AdjustStockRequest(request_id=new_id(), lines=[line], reason=reason)  # type: ignore[arg-type]  # a number of the wire's


def set_stock(shelf: Shelf, quantity: int = 1) -> stock_pb2.SetStockRequest:
    line = stock_pb2.SetLine(sku=shelf.sku, location=shelf.location, quantity=quantity)
    return stock_pb2.SetStockRequest(request_id=new_id(), lines=[line])


def ship(shelf: Shelf, quantity: int = 1) -> reservation_pb2.ShipAllocationRequest:
    line = reservation_pb2.ShipLine(sku=shelf.sku, location=shelf.location, quantity=quantity)
    return reservation_pb2.ShipAllocationRequest(request_id=new_id(), reservation_id="r", lines=[line])


def many(request: Message, field: str, number: int) -> Message:
    """The request with its one line (SKU, …) so many times."""
    items = getattr(request, field)
    items.extend([items[0]] * (number - 1))
    return request


def skus(number: int, **fields: object) -> catalogue_pb2.BatchUpsertSkusRequest:
    made = [catalogue_pb2.Sku(**{"sku": f"B-{index}", "name": "n", **fields}) for index in range(number)]  # type: ignore[arg-type]  # a table's
    return catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=made)


def locations(number: int, **fields: object) -> catalogue_pb2.BatchUpsertLocationsRequest:
    made = [catalogue_pb2.Location(**{"location": f"B-{index}", "name": "n", **fields}) for index in range(number)]  # type: ignore[arg-type]  # a table's
    return catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=made)


def batch(shelf: Shelf, reservations: int, lines: int = 1) -> reservation_pb2.BatchReserveStockRequest:
    line = reservation_pb2.ReserveLine(sku=shelf.sku, location=shelf.location, quantity=1)
    entry = reservation_pb2.ReserveEntry(lines=[line] * lines)
    return reservation_pb2.BatchReserveStockRequest(request_id=new_id(), reservations=[entry] * reservations)
