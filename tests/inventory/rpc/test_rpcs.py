"""Each RPC over the wire: what it answers, what it leaves, and what its repeat answers."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import context_pb2
from beautymesh.inventory.v1 import availability_pb2, catalogue_pb2, reservation_pb2, stock_pb2
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from tests.inventory.clients import SCOPES, Stub, client, until
from tests.inventory.rpc.calls import Shelf, adjust, batch, receive, refusal, reserve, send, set_stock
from tests.processes import Process, Stack


async def counters(stub: Stub, shelf: Shelf) -> tuple[int, int, int]:
    """on_hand, reserved, allocated of the shelf's only level."""
    answer = await stub.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[shelf.sku]))
    (level,) = answer.levels
    return level.counters.on_hand, level.counters.reserved, level.counters.allocated


async def held(stub: Stub, shelf: Shelf, quantity: int = 4) -> str:
    """A new hold's id."""
    return (await stub.ReserveStock(reserve(shelf, quantity))).reservation_id


def commit(reservation_id: str, **fields: object) -> reservation_pb2.CommitReservationRequest:
    return reservation_pb2.CommitReservationRequest(
        **{"request_id": new_id(), "reservation_id": reservation_id, "order_reference": "order-1", **fields}  # type: ignore[arg-type]  # a table's
    )


def release(reservation_id: str, **fields: object) -> reservation_pb2.ReleaseReservationRequest:
    return reservation_pb2.ReleaseReservationRequest(request_id=new_id(), reservation_id=reservation_id, **fields)  # type: ignore[arg-type]  # a table's


def extend(reservation_id: str, seconds: int) -> reservation_pb2.ExtendReservationRequest:
    return reservation_pb2.ExtendReservationRequest(
        request_id=new_id(), reservation_id=reservation_id, ttl=Duration(seconds=seconds)
    )


def soon(seconds: int = 600) -> Timestamp:
    """A moment so far ahead, to the microsecond."""
    moment = Timestamp()
    moment.FromMicroseconds(time.time_ns() // 1_000 + seconds * 1_000_000)
    return moment


async def test_a_reservation_lives_from_hold_to_closed_allocation(stub: Stub, shelf: Shelf) -> None:
    reservation_id = await held(stub, shelf)
    assert await counters(stub, shelf) == (10, 4, 0)
    await stub.CommitReservation(commit(reservation_id))
    assert await counters(stub, shelf) == (10, 0, 4)
    line = reservation_pb2.ShipLine(sku=shelf.sku, location=shelf.location, quantity=1)
    part = await stub.ShipAllocation(
        reservation_pb2.ShipAllocationRequest(request_id=new_id(), reservation_id=reservation_id, lines=[line])
    )
    assert part.allocation_state == reservation_pb2.ALLOCATION_STATE_OPEN
    rest = await stub.ShipAllocation(
        reservation_pb2.ShipAllocationRequest(request_id=new_id(), reservation_id=reservation_id)
    )
    assert rest.allocation_state == reservation_pb2.ALLOCATION_STATE_CLOSED
    assert await counters(stub, shelf) == (6, 0, 0)
    found = (
        await stub.GetReservation(
            reservation_pb2.GetReservationRequest(reservation_id=reservation_id, min_revision=rest.revision)
        )
    ).reservation
    assert (found.state, found.allocation_state, found.order_reference, found.revision) == (
        reservation_pb2.RESERVATION_STATE_COMMITTED,
        reservation_pb2.ALLOCATION_STATE_CLOSED,
        "order-1",
        rest.revision,
    )
    assert [(each.quantity, each.shipped) for each in found.lines] == [(4, 4)]


async def test_a_hold_lasts_fifteen_minutes_where_nothing_is_said(stub: Stub, shelf: Shelf) -> None:
    answer = await stub.ReserveStock(reserve(shelf))
    found = await stub.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=answer.reservation_id))
    lasts = found.reservation.expire_time.ToNanoseconds() - found.reservation.create_time.ToNanoseconds()
    assert lasts == 900 * 10**9
    assert found.reservation.expire_time == answer.expire_time
    assert found.reservation.channel == "default"


async def test_a_hold_lapses_when_its_caller_says(stub: Stub, shelf: Shelf) -> None:
    expire_time = soon()
    answer = await stub.ReserveStock(reserve(shelf, expire_time=expire_time))
    assert answer.expire_time == expire_time
    found = await stub.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=answer.reservation_id))
    assert found.reservation.expire_time == expire_time


async def test_a_client_may_choose_the_id_of_its_reservation(stub: Stub, shelf: Shelf) -> None:
    request = reserve(shelf, 2, reservation_id=new_id())
    answer = await stub.ReserveStock(request)
    assert answer.reservation_id == request.reservation_id
    assert await stub.ReserveStock(request) == answer
    await stub.CommitReservation(commit(request.reservation_id))
    assert await stub.ReserveStock(request) == answer
    assert await counters(stub, shelf) == (10, 0, 2)


async def test_an_id_that_is_taken_is_refused_whoever_has_it(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    chosen, made = new_id(), await held(stub, shelf, 1)
    await stub.ReserveStock(reserve(shelf, 1, reservation_id=chosen))
    await stub.ReleaseReservation(release(made))
    async with client(stack, service.target, name="client:other") as other:
        for reservation_id in (chosen, made):
            for caller in (stub, other):
                refused = await refusal(caller, reserve(shelf, reservation_id=reservation_id))
                assert (refused.kind, refused.reason) == (Kind.REFUSED, "ID_TAKEN")
                assert dict(refused.metadata) == {"reservation_id": reservation_id}
    assert await counters(stub, shelf) == (10, 1, 0)


async def test_of_concurrent_holds_under_one_id_one_is_made(stub: Stub, shelf: Shelf) -> None:
    chosen = new_id()
    calls = [stub.ReserveStock(reserve(shelf, reservation_id=chosen)) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in answers if isinstance(each, MeshError)]
    assert [each.reason for each in refused] == ["ID_TAKEN"] * 19
    assert await counters(stub, shelf) == (10, 1, 0)


async def test_a_hold_that_lapses_is_in_the_log_within_a_second(stub: Stub, shelf: Shelf) -> None:
    answer = await stub.ReserveStock(reserve(shelf, ttl=Duration(seconds=1)))

    async def expiry_is_written() -> bool:
        events = await stub.ListStockEvents(
            stock_pb2.ListStockEventsRequest(after_revision=answer.revision, sku=shelf.sku)
        )
        for event in events.events:
            if event.kind == stock_pb2.STOCK_EVENT_KIND_RESERVATION_EXPIRED:
                assert event.occur_time == answer.expire_time
                late = event.record_time.ToNanoseconds() - event.occur_time.ToNanoseconds()
                assert 0 <= late < 3 * 10**9  # a second; the rest is for a busy machine
                return True
        return False

    await until(10, expiry_is_written)
    assert await counters(stub, shelf) == (10, 0, 0)
    assert (await refusal(stub, commit(answer.reservation_id))).reason == "RESERVATION_EXPIRED"


async def test_a_set_with_an_old_revision_says_what_is_there(stub: Stub, shelf: Shelf) -> None:
    (level,) = (await stub.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[shelf.sku]))).levels
    line = stock_pb2.SetLine(sku=shelf.sku, location=shelf.location, quantity=7, expected_revision=level.revision)
    first = await stub.SetStock(stock_pb2.SetStockRequest(request_id=new_id(), lines=[line]))
    refused = await refusal(stub, stock_pb2.SetStockRequest(request_id=new_id(), lines=[line]))
    assert (refused.kind, refused.reason) == (Kind.CONFLICT, "REVISION_CONFLICT")
    assert (refused.metadata["revision"], refused.metadata["on_hand"]) == (str(first.revision), "7")


async def test_stock_can_be_read_as_of_every_revision(stub: Stub, shelf: Shelf) -> None:
    revisions = [(await stub.ReceiveStock(receive(shelf))).revision for _ in range(3)]
    key = stock_pb2.LevelKey(sku=shelf.sku, location=shelf.location)
    found = [
        (await stub.GetStockAsOf(stock_pb2.GetStockAsOfRequest(keys=[key], revision=revision))).levels[0]
        for revision in (0, *revisions)
    ]
    assert [(each.counters.on_hand, each.revision) for each in found] == [
        (0, 0),
        *zip((11, 12, 13), revisions, strict=True),
    ]


async def test_lists_come_in_pages_without_gap_or_repeat(stub: Stub, shelf: Shelf) -> None:
    for _ in range(7):
        await stub.ReceiveStock(receive(shelf))
    whole = await stub.ListStockEvents(stock_pb2.ListStockEventsRequest(sku=shelf.sku, page_size=1_000))
    paged: list[stock_pb2.StockEvent] = []
    request = stock_pb2.ListStockEventsRequest(sku=shelf.sku, page_size=2)
    while True:
        page = await stub.ListStockEvents(request)
        paged.extend(page.events)
        if not page.next_page_token:
            break
        assert len(page.events) == 2
        request.page_token = page.next_page_token
    assert paged == list(whole.events)
    assert len({event.event_id for event in paged}) == len(paged) == 1 + 8 * 2


async def test_a_page_token_of_another_filter_is_refused(stub: Stub, shelf: Shelf) -> None:
    await stub.ReceiveStock(receive(shelf))
    page = await stub.ListStockEvents(stock_pb2.ListStockEventsRequest(sku=shelf.sku, page_size=1))
    refused = await refusal(stub, stock_pb2.ListStockEventsRequest(sku="x", page_token=page.next_page_token))
    assert refused.reason == "INVALID_PAGE_TOKEN"


async def test_an_event_says_who_did_it_under_which_request(stub: Stub, shelf: Shelf) -> None:
    request = receive(shelf, context=context_pb2.CommandContext(reference="delivery-7"))
    revision = (await stub.ReceiveStock(request)).revision
    events = (
        await stub.ListStockEvents(stock_pb2.ListStockEventsRequest(after_revision=revision - 1, sku=shelf.sku))
    ).events
    assert [(event.event_id, event.principal, event.client_id, event.request_id) for event in events] == [
        (f"inventory/{revision}/{index}", "user:client:test", "client:test", request.request_id) for index in range(2)
    ]
    assert events[0].reference == "delivery-7"
    assert events[0].traceparent.startswith("00-")


async def test_the_ledger_check_streams_to_its_end(stub: Stub, shelf: Shelf) -> None:
    steps = [step async for step in stub.VerifyLedger(stock_pb2.VerifyLedgerRequest())]
    assert [problem for step in steps for problem in step.problems] == []
    assert (steps[-1].done, steps[-1].checked_revision) == (True, steps[-1].head_revision)


REPEATS: list[tuple[Callable[[Shelf, str], Message], str, object]] = [
    # the request, a field, and another value for it
    (lambda s, _: receive(s), "lines", None),
    (lambda s, _: adjust(s), "lines", None),
    (lambda s, _: adjust(s), "reason", 2),
    (lambda s, _: set_stock(s, 3), "lines", None),
    (lambda s, _: reserve(s), "lines", None),
    (lambda s, _: reserve(s), "ttl", Duration(seconds=5)),
    (lambda s, _: reserve(s), "channel", "default"),
    (lambda s, _: reserve(s), "reservation_id", "another"),
    (lambda s, _: reserve(s, reservation_id=new_id()), "reservation_id", "another"),
    (lambda s, _: reserve(s, expire_time=soon()), "expire_time", soon(7)),
    (lambda _, r: commit(r), "order_reference", "order-2"),
    (lambda _, r: commit(r), "reservation_id", "another"),
    (lambda _, r: release(r), "reservation_id", "another"),
    (lambda _, r: extend(r, 86_400), "ttl", Duration(seconds=5)),
    (lambda s, _: batch(s, 2), "reservations", None),
    (lambda s, _: catalogue_pb2.BatchUpsertSkusRequest(
        request_id=new_id(), skus=[catalogue_pb2.Sku(sku=f"{s.sku}-new", name="n")]), "skus", None),
    (lambda s, _: catalogue_pb2.BatchUpsertLocationsRequest(
        request_id=new_id(), locations=[catalogue_pb2.Location(location=f"{s.location}-new", name="n")]), "locations", None),
]  # fmt: skip


@pytest.mark.parametrize(("make", "field", "value"), REPEATS)
async def test_a_repeat_has_the_first_answer_and_another_body_is_refused(
    stub: Stub, shelf: Shelf, make: Callable[[Shelf, str], Any], field: str, value: object
) -> None:
    request = make(shelf, await held(stub, shelf, 1))
    first = await send(stub, request)
    levels = await stub.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[shelf.sku]))
    assert await send(stub, request) == first
    other = type(request)()
    other.CopyFrom(request)
    if value is None:
        getattr(other, field).extend([getattr(request, field)[0]])
    elif isinstance(value, Message):
        getattr(other, field).CopyFrom(value)
    else:
        setattr(other, field, value)
    refused = await refusal(stub, other)
    assert (refused.kind, refused.reason) == (Kind.REUSED_ID, "REQUEST_ID_REUSED")
    assert dict(refused.metadata) == {"request_id": request.request_id, "field": field}
    after = await stub.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[shelf.sku]))
    assert list(after.levels) == list(levels.levels)


async def test_the_same_id_for_another_method_is_refused(stub: Stub, shelf: Shelf) -> None:
    request = receive(shelf)
    await stub.ReceiveStock(request)
    refused = await refusal(stub, reserve(shelf, request_id=request.request_id))
    assert (refused.reason, refused.metadata["field"]) == ("REQUEST_ID_REUSED", "method")


async def test_the_same_id_from_another_client_is_another_request(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    request = reserve(shelf, 3)
    first = await stub.ReserveStock(request)
    async with client(stack, service.target, name="client:other") as other:
        second = await other.ReserveStock(request)
        unknown = await refusal(other, reservation_pb2.GetReservationRequest(reservation_id=first.reservation_id))
    assert first.reservation_id != second.reservation_id
    assert await counters(stub, shelf) == (10, 6, 0)
    assert unknown.reason == "UNKNOWN_RESERVATION"


async def test_staff_see_and_end_reservations_of_any_client(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    reservation_id = await held(stub, shelf)
    async with client(stack, service.target, token=stack.token(client="client:staff", scopes=SCOPES)) as staff:
        await staff.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=reservation_id))
        await staff.ReleaseReservation(release(reservation_id))
    assert await counters(stub, shelf) == (10, 0, 0)


async def test_a_batch_holds_what_it_can_and_says_why_not_of_the_rest(stub: Stub, shelf: Shelf) -> None:
    request = batch(shelf, 3)
    request.reservations[1].lines[0].quantity = 99
    request.reservations[2].lines[0].sku = "GHOST"
    results = (await stub.BatchReserveStock(request)).results
    assert [result.WhichOneof("result") for result in results] == ["reserved", "refused", "refused"]
    assert [result.refused.reason for result in results[1:]] == ["INSUFFICIENT_STOCK", "UNKNOWN_SKU"]
    assert await counters(stub, shelf) == (10, 1, 0)


async def test_a_repeated_batch_keeps_what_was_held_and_decides_the_rest_anew(stub: Stub, shelf: Shelf) -> None:
    request = batch(shelf, 3)
    request.reservations[1].lines[0].quantity = 12
    first = (await stub.BatchReserveStock(request)).results
    await stub.ReceiveStock(receive(shelf, 10))
    second = (await stub.BatchReserveStock(request)).results
    assert [result.WhichOneof("result") for result in second] == ["reserved"] * 3
    assert (second[0], second[2]) == (first[0], first[2])
    assert await counters(stub, shelf) == (20, 14, 0)


@pytest.mark.parametrize("first_is_held", [True, False])
async def test_a_used_batch_id_with_another_body_holds_nothing(
    stub: Stub, shelf: Shelf, *, first_is_held: bool
) -> None:
    request = batch(shelf, 2)
    request.reservations[0].lines[0].quantity = 1 if first_is_held else 99
    await stub.BatchReserveStock(request)
    before = await counters(stub, shelf)
    longer = batch(shelf, 3)
    longer.request_id = request.request_id
    refused = await refusal(stub, longer)
    assert (refused.reason, refused.metadata["field"]) == ("REQUEST_ID_REUSED", "reservations")
    assert await counters(stub, shelf) == before


async def test_the_lines_of_one_call_are_added_up_before_the_check(stub: Stub, shelf: Shelf) -> None:
    request = reserve(shelf, 6)
    request.lines.append(request.lines[0])
    (short,) = json.loads((await refusal(stub, request)).metadata["short_lines"])
    assert (short["requested"], short["available"]) == (12, 10)
    request.lines[1].quantity = 4
    reservation_id = (await stub.ReserveStock(request)).reservation_id
    found = await stub.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=reservation_id))
    assert [line.quantity for line in found.reservation.lines] == [10]


async def test_an_undo_in_a_saga_bars_the_late_action(stack: Stack, service: Process, stub: Stub, shelf: Shelf) -> None:
    saga = new_id()

    def of_saga(fence: int) -> context_pb2.CommandContext:
        return context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id=saga, fence=fence))

    refused = await refusal(stub, release("never-made", context=of_saga(9)))  # a client bars nobody
    assert (refused.reason, [each.field for each in refused.violations]) == ("INVALID_REQUEST", ["context.saga"])
    async with client(stack, service.target, token=stack.service_token()) as edge:
        undone = await edge.ReleaseReservation(release("never-made", context=of_saga(2)))
        assert undone.reservation_id == "never-made"
        refused = await refusal(edge, reserve(shelf, context=of_saga(1)))
    assert (refused.kind, refused.reason) == (Kind.CONFLICT, "STALE_FENCE")
    assert await counters(stub, shelf) == (10, 0, 0)


@pytest.mark.parametrize("reserving", [True, False])
async def test_a_reference_of_the_callers_own_is_kept_in_the_log(stub: Stub, shelf: Shelf, *, reserving: bool) -> None:
    """The contract says so of every command's context, and of each entry of a batch."""
    context = context_pb2.CommandContext(reference="basket-7")
    if reserving:
        revision = (await stub.ReserveStock(reserve(shelf, context=context))).revision
    else:
        request = batch(shelf, 1)
        request.reservations[0].reference = "basket-7"
        revision = (await stub.BatchReserveStock(request)).results[0].reserved.revision
    listed = stock_pb2.ListStockEventsRequest(after_revision=revision - 1, sku=shelf.sku)
    event = (await stub.ListStockEvents(listed)).events[0]
    assert "basket-7" in str(event)


async def test_one_client_limited_to_a_location_works_there_only(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    token = stack.token(client="client:store", scopes=SCOPES, locations=frozenset({"elsewhere"}))
    async with client(stack, service.target, token=token) as limited:
        for request in (reserve(shelf), receive(shelf), adjust(shelf), set_stock(shelf), batch(shelf, 1)):
            refused = await refusal(limited, request)
            assert (refused.kind, refused.reason) == (Kind.FORBIDDEN, "OUTSIDE_GRANT")
        assert list((await limited.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[shelf.sku]))).levels) == []
    assert await counters(stub, shelf) == (10, 0, 0)


async def test_a_reservation_elsewhere_is_not_shown_to_a_client_limited_to_a_location(
    stack: Stack, service: Process, stub: Stub, shelf: Shelf
) -> None:
    reservation_id = await held(stub, shelf)
    token = stack.token(locations=frozenset({"elsewhere"}))
    async with client(stack, service.target, token=token) as limited:
        refused = await refusal(limited, reservation_pb2.GetReservationRequest(reservation_id=reservation_id))
        assert (refused.kind, refused.reason) == (Kind.FORBIDDEN, "OUTSIDE_GRANT")


async def test_concurrent_repeats_of_one_request_hold_once(stub: Stub, shelf: Shelf) -> None:
    request = reserve(shelf, 2)
    answers = await asyncio.gather(*[stub.ReserveStock(request) for _ in range(50)])
    assert len({answer.reservation_id for answer in answers}) == 1
    assert await counters(stub, shelf) == (10, 2, 0)


async def test_nobody_oversells_the_last_units(stub: Stub, shelf: Shelf) -> None:
    answers = await asyncio.gather(*[stub.ReserveStock(reserve(shelf)) for _ in range(60)], return_exceptions=True)
    refused = [each for each in answers if isinstance(each, MeshError)]
    assert [each.reason for each in refused] == ["INSUFFICIENT_STOCK"] * 50
    assert await counters(stub, shelf) == (10, 10, 0)
    answer = await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku=shelf.sku))
    assert answer.availability.sellable == 0
