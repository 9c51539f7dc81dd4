"""SKUs, locations and reservations as lists: by filter, page by page, and no more than the caller may see."""
# ruff: noqa: ANN401 — the same check for several RPCs, each with types of its own

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from beautymesh.inventory.v1 import catalogue_pb2, reservation_pb2
from beautymesh.inventory.v1.catalogue_pb2 import ListLocationsRequest, ListSkusRequest, Location, Sku
from beautymesh.inventory.v1.reservation_pb2 import ListReservationsRequest
from meshkit.core.errors import Kind
from meshkit.core.ids import new_id
from tests.inventory.clients import SCOPES, Stub, client, until
from tests.inventory.rpc.calls import Shelf, receive, refusal, reserve
from tests.processes import Process, Stack

HELD, COMMITTED, RELEASED, EXPIRED = (
    reservation_pb2.RESERVATION_STATE_HELD,
    reservation_pb2.RESERVATION_STATE_COMMITTED,
    reservation_pb2.RESERVATION_STATE_RELEASED,
    reservation_pb2.RESERVATION_STATE_EXPIRED,
)


async def pages(method: Any, request: Any, field: str) -> AsyncIterator[list[Any]]:
    """Page by page to the last one."""
    while True:
        page = await method(request)
        yield list(getattr(page, field))
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.fixture
async def brand(stub: Stub) -> str:
    """Five SKUs of a brand of the test's own: A1, A2 of one product, B1, B2, C of others; A1 and B1 are for lips."""
    brand = new_id()
    skus = [
        Sku(sku=f"{brand}-{code}", name=code, product=f"{brand}-{code[0]}", brand=brand, category=category)
        for code, category in (("A1", "Lips"), ("A2", "Eyes"), ("B1", "Lips"), ("B2", "Eyes"), ("C", ""))
    ]
    skus[0].attributes["shade"] = "Rosé"
    await stub.BatchUpsertSkus(catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=skus[::-1]))
    return brand


async def names(stub: Stub, **wanted: Any) -> list[str]:
    return [sku.name for sku in (await stub.ListSkus(ListSkusRequest(**wanted))).skus]


async def test_skus_are_listed_by_code_and_filtered_by_every_field(stub: Stub, brand: str) -> None:
    assert await names(stub, brand=brand) == ["A1", "A2", "B1", "B2", "C"]
    assert await names(stub, product=f"{brand}-A") == ["A1", "A2"]
    assert await names(stub, brand=brand, category="Lips") == ["A1", "B1"]
    assert await names(stub, skus=[f"{brand}-C", f"{brand}-A1", "GHOST"]) == ["A1", "C"]
    assert await names(stub, skus=[f"{brand}-C"], category="Lips") == []
    (first,) = (await stub.ListSkus(ListSkusRequest(brand=brand, page_size=1))).skus
    assert (first.sku, first.product, first.category) == (f"{brand}-A1", f"{brand}-A", "Lips")
    assert dict(first.attributes) == {"shade": "Rosé"}


async def test_skus_come_in_pages_without_gap_or_repeat(stub: Stub, brand: str) -> None:
    request = ListSkusRequest(brand=brand, page_size=2)
    found = [[sku.name for sku in page] async for page in pages(stub.ListSkus, request, "skus")]
    assert found == [["A1", "A2"], ["B1", "B2"], ["C"]]
    exact = ListSkusRequest(brand=brand, page_size=5)
    assert [len(page) async for page in pages(stub.ListSkus, exact, "skus")] == [5]


async def test_a_page_of_large_skus_is_shorter_than_asked_for(stub: Stub) -> None:
    """Forty SKUs of 16 KiB in each of sixteen attributes are 10 MiB, and a page of SKUs has 4."""
    brand = new_id()
    attributes = {f"a{number}": "💄" * 4_096 for number in range(16)}
    for number in range(40):
        sku = Sku(sku=f"{brand}-{number:02}", name="n", brand=brand, attributes=attributes)
        await stub.BatchUpsertSkus(catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=[sku]))
    request = ListSkusRequest(brand=brand, page_size=1_000)
    found = [[sku.sku for sku in page] async for page in pages(stub.ListSkus, request, "skus")]
    assert [len(page) for page in found] == [15, 15, 10]
    assert [sku for page in found for sku in page] == [f"{brand}-{number:02}" for number in range(40)]


async def test_locations_are_listed_by_code_and_filtered_by_kind(stub: Stub) -> None:
    prefix = new_id()
    kinds = {
        f"{prefix}-A": catalogue_pb2.LOCATION_KIND_STORE,
        f"{prefix}-B": catalogue_pb2.LOCATION_KIND_WAREHOUSE,
        f"{prefix}-C": catalogue_pb2.LOCATION_KIND_STORE,
    }
    places = [Location(location=code, name=f"{code}!", kind=kind) for code, kind in kinds.items()]
    await stub.BatchUpsertLocations(
        catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=places[::-1])
    )
    listed = await stub.ListLocations(ListLocationsRequest(locations=list(kinds)))
    assert list(listed.locations) == places
    stores = ListLocationsRequest(locations=list(kinds), kind=catalogue_pb2.LOCATION_KIND_STORE, page_size=1)
    assert [page async for page in pages(stub.ListLocations, stores, "locations")] == [[places[0]], [places[2]]]


async def test_a_client_limited_to_a_location_sees_that_one_only(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    code = f"{shelf.location}-2"
    other = Location(location=code, name="Other", kind=catalogue_pb2.LOCATION_KIND_IN_TRANSIT)
    await stub.BatchUpsertLocations(catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=[other]))
    await stub.ReceiveStock(receive(Shelf(shelf.sku, code)))
    both = reserve(shelf)
    both.lines.add(sku=shelf.sku, location=code, quantity=1)
    for request in (both, reserve(shelf)):
        await stub.ReserveStock(request)
    token = stack.token(locations=frozenset({shelf.location}))
    async with client(stack, service.target, token=token) as limited:
        listed = await limited.ListLocations(ListLocationsRequest())
        assert [place.location for place in listed.locations] == [shelf.location]
        mine = await limited.ListReservations(ListReservationsRequest(sku=shelf.sku))
        assert [[line.location for line in each.lines] for each in mine.reservations] == [[shelf.location]]
        for elsewhere in (ListLocationsRequest(locations=[code]), ListReservationsRequest(location=code)):
            refused = await refusal(limited, elsewhere)
            assert (refused.kind, refused.reason) == (Kind.FORBIDDEN, "OUTSIDE_GRANT")


async def test_reservations_are_filtered_by_state_sku_location_and_order(stub: Stub, shelf: Shelf) -> None:
    lapsing = reserve(shelf, ttl=Duration(seconds=1))
    ids = [(await stub.ReserveStock(each)).reservation_id for each in (reserve(shelf), reserve(shelf), lapsing)]
    kept = (await stub.ReserveStock(reserve(shelf))).reservation_id
    order = new_id()
    await stub.CommitReservation(
        reservation_pb2.CommitReservationRequest(request_id=new_id(), reservation_id=ids[0], order_reference=order)
    )
    await stub.ReleaseReservation(reservation_pb2.ReleaseReservationRequest(request_id=new_id(), reservation_id=ids[1]))

    async def listed(**wanted: Any) -> list[str]:
        page = await stub.ListReservations(ListReservationsRequest(**{"sku": shelf.sku, **wanted}))
        return [each.reservation_id for each in page.reservations]

    async def has_lapsed() -> bool:
        return await listed(state=EXPIRED) == [ids[2]]

    await until(10, has_lapsed)
    assert await listed() == [*ids, kept]
    assert await listed(state=HELD) == [kept]
    assert await listed(state=COMMITTED) == [ids[0]]
    assert await listed(state=RELEASED) == [ids[1]]
    assert await listed(sku="", order_reference=order) == [ids[0]]
    assert await listed(sku="", location=shelf.location) == [*ids, kept]
    assert await listed(location="elsewhere") == []
    (committed,) = (await stub.ListReservations(ListReservationsRequest(order_reference=order))).reservations
    found = await stub.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=ids[0]))
    assert committed == found.reservation


async def test_sku_and_location_are_of_one_line(stub: Stub, shelf: Shelf) -> None:
    other = Shelf(f"{shelf.sku}-2", f"{shelf.location}-2")
    await stub.BatchUpsertSkus(
        catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=[Sku(sku=other.sku, name="n")])
    )
    place = Location(location=other.location, name="n")
    await stub.BatchUpsertLocations(catalogue_pb2.BatchUpsertLocationsRequest(request_id=new_id(), locations=[place]))
    await stub.ReceiveStock(receive(other))
    request = reserve(shelf)
    request.lines.extend(reserve(other).lines)
    made = (await stub.ReserveStock(request)).reservation_id
    here = await stub.ListReservations(ListReservationsRequest(sku=other.sku, location=other.location))
    assert [each.reservation_id for each in here.reservations] == [made]
    assert len(here.reservations[0].lines) == 2
    crossed = await stub.ListReservations(ListReservationsRequest(sku=other.sku, location=shelf.location))
    assert list(crossed.reservations) == []


async def test_a_client_sees_its_own_reservations_and_staff_those_of_all(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    mine = (await stub.ReserveStock(reserve(shelf))).reservation_id
    async with client(stack, service.target, name="client:other") as other:
        theirs = (await other.ReserveStock(reserve(shelf))).reservation_id
        listed = await other.ListReservations(ListReservationsRequest(sku=shelf.sku))
        assert [each.reservation_id for each in listed.reservations] == [theirs]
    async with client(stack, service.target, token=stack.token(client="client:staff", scopes=SCOPES)) as staff:
        request = ListReservationsRequest(sku=shelf.sku, page_size=1)
        found = [page async for page in pages(staff.ListReservations, request, "reservations")]
        assert [each.reservation_id for page in found for each in page] == [mine, theirs]


async def test_a_page_of_reservations_with_many_lines_is_shorter_than_asked_for(stub: Stub, shelf: Shelf) -> None:
    """Twelve of 1,000 lines each, and a page reads 10,000 lines."""
    shelves = [Shelf(f"{shelf.sku}-{number}", shelf.location) for number in range(1_000)]
    skus = [Sku(sku=each.sku, name="n") for each in shelves]
    await stub.BatchUpsertSkus(catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=skus))
    stocked = receive(shelves[0])
    for each in shelves:
        stocked.lines.extend(receive(each, 12).lines)
    await stub.ReceiveStock(stocked)
    lines = [line for each in shelves for line in reserve(each).lines]
    ids = [(await stub.ReserveStock(reserve(shelf, lines=lines))).reservation_id for _ in range(12)]
    request = ListReservationsRequest(sku=shelves[0].sku, page_size=12)
    found = [page async for page in pages(stub.ListReservations, request, "reservations")]
    assert [[each.reservation_id for each in page] for page in found] == [ids[:9], ids[9:]]
    assert {len(each.lines) for page in found for each in page} == {1_000}


async def test_a_page_token_of_another_filter_is_refused(stub: Stub, brand: str) -> None:
    page = await stub.ListSkus(ListSkusRequest(brand=brand, page_size=1))
    refused = await refusal(stub, ListSkusRequest(category="Lips", page_token=page.next_page_token))
    assert refused.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("request_class", [ListSkusRequest, ListLocationsRequest, ListReservationsRequest])
async def test_a_list_can_wait_for_what_was_written(stub: Stub, shelf: Shelf, request_class: Any) -> None:
    revision = (await stub.ReceiveStock(receive(shelf))).revision
    method = getattr(stub, request_class.DESCRIPTOR.name.removesuffix("Request"))
    assert (await method(request_class(min_revision=revision))).revision >= revision
