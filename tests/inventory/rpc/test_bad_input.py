"""Whatever a caller sends, the answer says what is wrong with it, and nothing happens."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import context_pb2
from beautymesh.inventory.v1 import (
    availability_pb2,
    catalogue_pb2,
    inventory_pb2,
    reservation_pb2,
    stock_pb2,
    watch_pb2,
)
from meshkit.core.errors import Kind, MeshError
from meshkit.rpc.status import from_rpc_error
from meshkit.rpc.tokens import TokenIssuer, ensure_keys
from tests.channels import reached
from tests.inventory.clients import SCOPES, Stub, client
from tests.inventory.rpc.calls import (
    Shelf,
    adjust,
    batch,
    locations,
    many,
    name_of,
    receive,
    refusal,
    reserve,
    send,
    set_stock,
    ship,
    skus,
)
from tests.processes import ISSUER, Process, Stack

Call = Callable[[Shelf], Message]


def _one_line_too_many(shelf: Shelf) -> Message:
    request = batch(shelf, 5, 1_000)
    request.reservations.append(batch(shelf, 1).reservations[0])
    return request


INVALID: list[tuple[str, Call, str]] = [
    # what is wrong, the request, the field that must be named
    *[(f"{quantity} units to reserve", lambda s, q=quantity: reserve(s, q), "lines[0].quantity")
      for quantity in (0, -1, 10**9 + 1, -(2**63), 2**63 - 1)],
    *[(f"{quantity} units to receive", lambda s, q=quantity: receive(s, q), "lines[0].quantity")
      for quantity in (0, -1, 10**9 + 1)],
    *[(f"{quantity} units to adjust", lambda s, q=quantity: adjust(s, q), "lines[0].quantity")
      for quantity in (0, 10**9 + 1, -(10**9) - 1)],
    *[(f"{quantity} units to set", lambda s, q=quantity: set_stock(s, q), "lines[0].quantity")
      for quantity in (-1, 10**9 + 1)],
    *[(f"{quantity} units to ship", lambda s, q=quantity: ship(s, q), "lines[0].quantity") for quantity in (0, -1, 10**9 + 1)],
    ("no reason to adjust", lambda s: adjust(s, 1, 0), "reason"),
    ("a reason that does not exist", lambda s: adjust(s, 1, 99), "reason"),
    ("no lines to reserve", lambda s: reserve(s, lines=[]), "lines"),
    ("no lines to receive", lambda s: receive(s, lines=[]), "lines"),
    ("no request id", lambda s: reserve(s, request_id=""), "request_id"),
    ("a request id that is too long", lambda s: reserve(s, request_id="x" * 129), "request_id"),
    ("a hold that is too short", lambda s: reserve(s, ttl=Duration(nanos=999_999_999)), "ttl"),
    ("a hold that is negative", lambda s: reserve(s, ttl=Duration(seconds=-1)), "ttl"),
    ("a hold with two expiries", lambda s: reserve(s, ttl=Duration(seconds=9), expire_time=Timestamp(seconds=9)), "ttl"),
    ("a hold until long ago", lambda s: reserve(s, expire_time=Timestamp(seconds=9)), "expire_time"),
    ("a hold until the year 9999", lambda s: reserve(s, expire_time=Timestamp(seconds=253402300799)), "expire_time"),
    ("a hold until no year", lambda s: reserve(s, expire_time=Timestamp(seconds=2**62)), "expire_time"),
    ("a hold until before all years", lambda s: reserve(s, expire_time=Timestamp(seconds=-(2**62))), "expire_time"),
    ("U+0000 in a new reservation's id", lambda s: reserve(s, reservation_id="a\0"), "reservation_id"),
    ("a hold that is too long", lambda s: reserve(s, ttl=Duration(seconds=86400, nanos=1)), "ttl"),
    ("a saga without an id", lambda s: reserve(
        s, context=context_pb2.CommandContext(saga=context_pb2.SagaFence(fence=1))), "context.saga.saga_id"),
    ("a fence that is not positive", lambda s: reserve(
        s, context=context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id="s"))), "context.saga.fence"),
    # one more than each bound
    ("1,001 lines to reserve", lambda s: many(reserve(s), "lines", 1_001), "lines"),
    ("10,001 lines to receive", lambda s: many(receive(s), "lines", 10_001), "lines"),
    ("10,001 lines to adjust", lambda s: many(adjust(s), "lines", 10_001), "lines"),
    ("10,001 lines to set", lambda s: many(set_stock(s), "lines", 10_001), "lines"),
    ("1,001 lines to ship", lambda s: many(ship(s), "lines", 1_001), "lines"),
    ("10,001 SKUs", lambda _: skus(10_001), "skus"),
    ("10,001 locations", lambda _: locations(10_001), "locations"),
    ("1,001 reservations", lambda s: batch(s, 1_001), "reservations"),
    ("5,001 lines in a batch", _one_line_too_many, "reservations"),
    ("1,001 lines in one reservation of a batch", lambda s: batch(s, 1, 1_001), "reservations[0].lines"),
    ("1,001 availabilities", lambda _: availability_pb2.BatchGetAvailabilityRequest(skus=["x"] * 1_001), "skus"),
    ("no availability", lambda _: availability_pb2.BatchGetAvailabilityRequest(), "skus"),
    ("1,001 SKUs to watch", lambda _: watch_pb2.WatchStockRequest(filter=watch_pb2.StockFilter(skus=["x"] * 1_001)),
     "filter.skus"),
    ("1,001 levels as of", lambda _: stock_pb2.GetStockAsOfRequest(
        keys=[stock_pb2.LevelKey(sku="x", location="y")] * 1_001, revision=1), "keys"),
    ("a page of 1,001 levels", lambda _: stock_pb2.ListStockLevelsRequest(page_size=1_001), "page_size"),
    ("a page of 1,001 SKUs", lambda _: catalogue_pb2.ListSkusRequest(page_size=1_001), "page_size"),
    ("a page of 1,001 locations", lambda _: catalogue_pb2.ListLocationsRequest(page_size=1_001), "page_size"),
    ("a page of 1,001 reservations", lambda _: reservation_pb2.ListReservationsRequest(page_size=1_001), "page_size"),
    ("1,001 SKUs to list", lambda _: catalogue_pb2.ListSkusRequest(skus=["x"] * 1_001), "skus"),
    ("a state that does not exist", lambda _: reservation_pb2.ListReservationsRequest(state=99), "state"),  # type: ignore[arg-type]  # a number of the wire's
    ("a page of -1 events", lambda _: stock_pb2.ListStockEventsRequest(page_size=-1), "page_size"),
    ("a SKU of 65 characters", lambda _: skus(1, sku="x" * 65), "skus[0].sku"),
    ("65 attributes", lambda _: skus(1, attributes={str(n): "" for n in range(65)}), "skus[0].attributes"),
    ("a SKU without a name", lambda _: skus(1, name=""), "skus[0].name"),
    ("a location's kind that does not exist", lambda _: locations(1, kind=99), "locations[0].kind"),
    # control characters, U+0000 first of all
    *[(f"{character!r} in a request id", lambda s, c=character: reserve(s, request_id=f"a{c}b"), "request_id")
      for character in ("\0", "\x1f", "\n", "\x7f")],
    *[(f"{character!r} in a SKU", lambda _, c=character: reserve(Shelf(f"a{c}b", "x")), "lines[0].sku")
      for character in ("\0", "\x1f", "\n", "\x7f")],
    ("U+0000 in a location", lambda _: receive(Shelf("x", "a\0b")), "lines[0].location"),
    ("U+0000 in a new SKU", lambda _: skus(1, sku="a\0b"), "skus[0].sku"),
    ("U+0000 in a name", lambda _: skus(1, name="a\0b"), "skus[0].name"),
    ("U+0000 in an attribute", lambda _: skus(1, attributes={"a": "b\0"}), 'skus[0].attributes["a"]'),
    ("U+0000 in an attribute's name", lambda _: skus(1, attributes={"a\0": "b"}), 'skus[0].attributes["a\\u0000"]'),
    ("U+0000 in a reservation id", lambda _: reservation_pb2.CommitReservationRequest(
        request_id="r", reservation_id="a\0", order_reference="o"), "reservation_id"),
    ("U+0000 in an order", lambda _: reservation_pb2.CommitReservationRequest(
        request_id="r", reservation_id="a", order_reference="o\0"), "order_reference"),
    ("no order", lambda _: reservation_pb2.CommitReservationRequest(request_id="r", reservation_id="a"), "order_reference"),
    ("U+0000 in a channel", lambda s: reserve(s, channel="a\0"), "channel"),
    ("U+0000 in a reference", lambda s: reserve(s, context=context_pb2.CommandContext(reference="a\0")),
     "context.reference"),
    ("U+0000 in a saga", lambda s: reserve(
        s, context=context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id="a\0", fence=1))), "context.saga.saga_id"),
    ("U+0000 in a question", lambda _: availability_pb2.GetAvailabilityRequest(sku="a\0"), "sku"),
    ("U+0000 in a list of questions", lambda _: availability_pb2.BatchGetAvailabilityRequest(skus=["a", "a\0"]), "skus[1]"),
    ("U+0000 in a filter", lambda _: stock_pb2.ListStockLevelsRequest(location="a\0"), "location"),
    ("U+0000 in a filter of SKUs", lambda _: stock_pb2.ListStockLevelsRequest(skus=["a\0"]), "skus[0]"),
    ("U+0000 in a filter of events", lambda _: stock_pb2.ListStockEventsRequest(sku="a\0"), "sku"),
    ("U+0000 in a key as of", lambda _: stock_pb2.GetStockAsOfRequest(
        keys=[stock_pb2.LevelKey(sku="a\0", location="b")], revision=1), "keys[0].sku"),
    ("a location without its SKU", lambda _: stock_pb2.ListStockEventsRequest(location="a"), "location"),
    ("no moment as of", lambda _: stock_pb2.GetStockAsOfRequest(keys=[stock_pb2.LevelKey(sku="a", location="b")]), "as_of"),
    ("a negative revision", lambda _: availability_pb2.GetAvailabilityRequest(sku="a", min_revision=-1), "min_revision"),
    *[(f"a moment out of this world ({seconds} s)", lambda _, t=seconds: stock_pb2.GetStockAsOfRequest(
        keys=[stock_pb2.LevelKey(sku="a", location="b")], record_time=Timestamp(seconds=t)), "record_time")
      for seconds in (2**62, -(2**62), 253402300800)],
]  # fmt: skip


@pytest.mark.parametrize(("make", "field"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
async def test_a_request_out_of_bounds_is_refused_and_its_field_named(
    stub: Stub, shelf: Shelf, make: Call, field: str
) -> None:
    refused = await refusal(stub, make(shelf))
    assert (refused.kind, refused.reason) == (Kind.INVALID, "INVALID_REQUEST"), refused.message
    assert field in [violation.field for violation in refused.violations]
    availability = await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku=shelf.sku))
    assert availability.availability.sellable == 10


AT_THE_BOUND: list[tuple[str, Call]] = [
    ("1,000 lines to reserve", lambda s: many(reserve(s), "lines", 1_000)),
    ("10,000 lines to receive", lambda s: many(receive(s), "lines", 10_000)),
    ("10,000 locations", lambda _: locations(10_000)),
    ("1,000 reservations", lambda s: batch(s, 1_000)),
    ("5,000 lines in a batch", lambda s: batch(s, 5, 1_000)),
    ("a hold of a second", lambda s: reserve(s, ttl=Duration(seconds=1))),
    ("a hold of a day", lambda s: reserve(s, ttl=Duration(seconds=86400))),
    ("10^9 units", lambda s: receive(s, 10**9)),
    ("characters of four bytes", lambda _: skus(1, name="💄" * 512)),
    ("a line break in an attribute", lambda _: skus(1, attributes={"ingredients": "water\nglycerin"})),
]


@pytest.mark.parametrize("make", [case[1] for case in AT_THE_BOUND], ids=[case[0] for case in AT_THE_BOUND])
async def test_a_request_at_its_bound_is_served(stub: Stub, shelf: Shelf, make: Call) -> None:
    try:
        await send(stub, make(shelf))
    except MeshError as refused:
        assert refused.reason == "INSUFFICIENT_STOCK"  # noqa: PT017 — served and decided; a refusal of the rules is one answer


FORGED = [
    json.dumps(["x"]),
    json.dumps({}),
    json.dumps(None),
    json.dumps([1, 2, 3, 4]),
    "not json",
    "\0",
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize(
    "request_class",
    [
        stock_pb2.ListStockLevelsRequest,
        stock_pb2.ListStockEventsRequest,
        catalogue_pb2.ListSkusRequest,
        catalogue_pb2.ListLocationsRequest,
        reservation_pb2.ListReservationsRequest,
    ],
)
async def test_a_page_token_that_was_not_given_is_refused(
    stub: Stub, forged: str, request_class: Callable[..., Message]
) -> None:
    token = base64.urlsafe_b64encode(forged.encode()).decode().rstrip("=")
    for each in (token, forged.replace("\0", "") + "!", "💄", token + "A"):
        refused = await refusal(stub, request_class(page_token=each))
        assert (refused.kind, refused.reason) == (Kind.INVALID, "INVALID_PAGE_TOKEN")


LEVEL_POSITIONS = [["a\0", "b", ""], [1, 2, 3], [None, None, None], [["x"], "b", ""], ["a"], [], ["\ud800", "b", ""]]
EVENT_POSITIONS = [[10**30, 0], [1.5, 0], [-(2**70), 0], [True, "0"], ["1", "2"], [1], []]


@pytest.mark.parametrize(
    ("request_class", "position"),
    [(stock_pb2.ListStockLevelsRequest, position) for position in LEVEL_POSITIONS]
    + [(stock_pb2.ListStockEventsRequest, position) for position in EVENT_POSITIONS],
)
async def test_a_page_token_with_another_position_does_no_harm(
    stub: Stub, shelf: Shelf, request_class: Callable[..., Message], position: list[object]
) -> None:
    """The query's hash is no secret: a token can be forged, and must then be refused or be a position like any other."""
    await send(stub, locations(1, location=f"{shelf.location}-2"))
    await send(stub, receive(Shelf(shelf.sku, f"{shelf.location}-2")))
    request: Any = request_class(page_size=1, **({"skus": [shelf.sku]} if "Levels" in request_class.__name__ else {}))
    first: Any = await send(stub, request)
    assert first.next_page_token
    query = json.loads(base64.urlsafe_b64decode(first.next_page_token + "=="))[0]
    request.page_token = base64.urlsafe_b64encode(json.dumps([query, *position]).encode()).decode()
    try:
        await send(stub, request)
    except MeshError as refused:
        assert refused.reason == "INVALID_PAGE_TOKEN"  # noqa: PT017 — being served is right too


@pytest.mark.parametrize("token", ["x", "💄", base64.urlsafe_b64encode(b"\0" * 40).decode(), "A" * 1024])
async def test_a_resume_token_that_was_not_given_is_refused(stub: Stub, token: str) -> None:
    refused = await refusal(stub, watch_pb2.WatchStockRequest(resume_token=token))
    assert (refused.kind, refused.reason) == (Kind.INVALID, "RESUME_TOKEN_INVALID")


async def test_a_revision_that_is_not_written_yet_is_out_of_range(stub: Stub) -> None:
    request = stock_pb2.GetStockAsOfRequest(keys=[stock_pb2.LevelKey(sku="a", location="b")], revision=2**62)
    refused = await refusal(stub, request)
    assert (refused.kind, refused.reason) == (Kind.GONE, "REVISION_IN_FUTURE")


@pytest.mark.bound(seconds=0.2)
async def test_a_revision_that_does_not_become_visible_is_unavailable_within_the_deadline(stub: Stub) -> None:
    with pytest.raises(MeshError) as refused:
        await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku="a", min_revision=2**62), timeout=4)
    assert refused.value.reason == "REVISION_NOT_YET_VISIBLE"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda s: reserve(Shelf("GHOST", s.location)), "UNKNOWN_SKU"),
        (lambda s: reserve(Shelf(s.sku, "NOWHERE")), "UNKNOWN_LOCATION"),
        (lambda s: receive(Shelf("GHOST", s.location)), "UNKNOWN_SKU"),
        (lambda s: receive(Shelf(s.sku, "NOWHERE")), "UNKNOWN_LOCATION"),
        (lambda s: adjust(Shelf("GHOST", s.location)), "UNKNOWN_SKU"),
        (lambda s: adjust(Shelf(s.sku, "NOWHERE")), "UNKNOWN_LOCATION"),
        (lambda s: set_stock(Shelf("GHOST", s.location)), "UNKNOWN_SKU"),
        (lambda s: set_stock(Shelf(s.sku, "NOWHERE")), "UNKNOWN_LOCATION"),
        (lambda _: availability_pb2.GetAvailabilityRequest(sku="GHOST"), "UNKNOWN_SKU"),
        (lambda s: reserve(s, channel="tiktok"), "UNKNOWN_CHANNEL"),
        (lambda s: availability_pb2.GetAvailabilityRequest(sku=s.sku, channel="tiktok"), "UNKNOWN_CHANNEL"),
        (ship, "UNKNOWN_RESERVATION"),
        (lambda _: reservation_pb2.GetReservationRequest(reservation_id="none"), "UNKNOWN_RESERVATION"),
    ],
)
async def test_what_is_not_known_is_not_found(stub: Stub, shelf: Shelf, make: Call, reason: str) -> None:
    refused = await refusal(stub, make(shelf))
    assert (refused.kind, refused.reason) == (Kind.NOT_FOUND, reason)


async def test_unknown_skus_of_a_batch_question_are_named_beside_the_answers(stub: Stub, shelf: Shelf) -> None:
    answer = await stub.BatchGetAvailability(availability_pb2.BatchGetAvailabilityRequest(skus=["G", shelf.sku, "H"]))
    assert [each.sku for each in answer.availabilities] == [shelf.sku]
    assert list(answer.unknown_skus) == ["G", "H"]


async def test_a_shortage_names_the_line_and_the_numbers(stub: Stub, shelf: Shelf) -> None:
    refused = await refusal(stub, reserve(shelf, 11))
    assert (refused.kind, refused.reason) == (Kind.REFUSED, "INSUFFICIENT_STOCK")
    assert dict(refused.metadata) == {
        "count": "1",
        "short_lines": f'[{{"sku":"{shelf.sku}","location":"{shelf.location}","requested":11,"available":10}}]',
    }


async def test_a_shortage_of_a_thousand_lines_names_every_one(stub: Stub, shelf: Shelf) -> None:
    lots = [f"{number:03}" * 21 for number in range(1_000)]
    lines = [reservation_pb2.ReserveLine(sku=shelf.sku, location=shelf.location, lot=lot, quantity=1) for lot in lots]
    refused = await refusal(stub, reserve(shelf, lines=lines))
    assert "metadata_truncated" not in refused.metadata
    assert json.loads(refused.metadata["short_lines"]) == [
        {"sku": shelf.sku, "location": shelf.location, "lot": lot, "requested": 1, "available": 0} for lot in lots
    ]


async def test_a_plain_client_is_told_the_short_lines_that_fit(stack: Stack, service: Process, shelf: Shelf) -> None:
    import grpc.aio  # noqa: PLC0415 — see below

    lots = [f"{number:03}" * 21 for number in range(1_000)]
    lines = [reservation_pb2.ReserveLine(sku=shelf.sku, location=shelf.location, lot=lot, quantity=1) for lot in lots]
    async with grpc.aio.insecure_channel(service.target) as channel:
        call: Any = (await reached(channel)).unary_unary("/beautymesh.inventory.v1.InventoryService/ReserveStock")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(
                reserve(shelf, lines=lines).SerializeToString(),
                metadata=[("authorization", f"Bearer {stack.token()}")],
            )
    refused = from_rpc_error(failed.value)
    assert (refused.reason, refused.metadata["count"]) == ("INSUFFICIENT_STOCK", "1000")
    assert refused.metadata["metadata_truncated"] == "true"
    named = json.loads(refused.metadata["short_lines"])
    assert [line["lot"] for line in named] == lots[: len(named)]
    assert 10 < len(named) < 20


async def test_a_message_that_is_none_is_refused(stack: Stack, service: Process) -> None:
    import grpc.aio  # noqa: PLC0415 — the one test that needs the bare transport

    async with grpc.aio.insecure_channel(service.target) as channel:
        call: Any = (await reached(channel)).unary_unary("/beautymesh.inventory.v1.InventoryService/ReserveStock")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"\xff\xff\xff", metadata=[("authorization", f"Bearer {stack.token()}")])
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_deadline_that_is_too_short_is_not_begun(stub: Stub, shelf: Shelf) -> None:
    with pytest.raises(MeshError) as refused:
        await stub.ReserveStock(reserve(shelf), timeout=0.0001)
    assert refused.value.kind is Kind.LATE
    availability = await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku=shelf.sku))
    assert availability.availability.sellable == 10


def _unsigned(claims: dict[str, object]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))  # type: ignore[no-any-return]  # JSON


def _expired(stack: Stack) -> str:
    issuer = TokenIssuer.from_key_file(stack.keys.signing_key_file, issuer=ISSUER)
    return issuer.issue(subject="user:x", client_id="client:x", scopes=SCOPES, lifetime_seconds=-1)


def _of_another_key(stack: Stack) -> str:
    other = ensure_keys(stack.folder / "other-keys")
    issuer = TokenIssuer.from_key_file(other.signing_key_file, issuer=ISSUER)
    return issuer.issue(subject="user:x", client_id="client:x", scopes=SCOPES)


def _of_another_issuer(stack: Stack) -> str:
    issuer = TokenIssuer.from_key_file(stack.keys.signing_key_file, issuer="somebody")
    return issuer.issue(subject="user:x", client_id="client:x", scopes=SCOPES)


def _with_more_scopes(stack: Stack) -> str:
    head, _, signature = stack.token(scopes=frozenset()).split(".")
    claims = _claims(stack.token()) | {"scope": " ".join(SCOPES)}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


TOKENS: list[tuple[str, Callable[[Stack], str]]] = [
    ("no token", lambda _: ""),
    ("malformed", lambda _: "abc"),
    ("malformed in three parts", lambda _: "a.b.c"),
    ("expired", _expired),
    ("signed by another key", _of_another_key),
    ("of another issuer", _of_another_issuer),
    ("changed after it was signed", _with_more_scopes),
    ("alg none", lambda stack: _unsigned(_claims(stack.token()))),
    ("without its signature", lambda stack: stack.token().rpartition(".")[0] + "."),
    ("too long", lambda _: "A" * 7_000),
]


@pytest.mark.parametrize("make", [case[1] for case in TOKENS], ids=[case[0] for case in TOKENS])
async def test_a_token_that_proves_nothing_is_refused(
    stack: Stack, service: Process, shelf: Shelf, make: Callable[[Stack], str]
) -> None:
    async with client(stack, service.target, token=make(stack)) as stranger:
        refused = await refusal(stranger, reserve(shelf))
        assert (refused.kind, refused.reason) == (Kind.UNAUTHENTICATED, "UNAUTHENTICATED")
        refused = await refusal(stranger, watch_pb2.WatchStockRequest())
        assert refused.kind is Kind.UNAUTHENTICATED


REQUESTS: list[tuple[Call, str]] = [
    (lambda _: skus(1), "inventory.catalogue.write"),
    (lambda _: locations(1), "inventory.catalogue.write"),
    (receive, "inventory.stock.write"),
    (adjust, "inventory.stock.write"),
    (set_stock, "inventory.stock.write"),
    (reserve, "inventory.reserve"),
    (lambda s: batch(s, 1), "inventory.reserve"),
    (lambda _: reservation_pb2.ExtendReservationRequest(request_id="x", reservation_id="x"), "inventory.reserve"),
    (lambda _: reservation_pb2.CommitReservationRequest(request_id="x", reservation_id="x", order_reference="x"),
     "inventory.reserve"),
    (lambda _: reservation_pb2.ReleaseReservationRequest(request_id="x", reservation_id="x"), "inventory.reserve"),
    (lambda _: reservation_pb2.GetReservationRequest(reservation_id="x"), "inventory.reserve"),
    (lambda _: reservation_pb2.ListReservationsRequest(), "inventory.reserve"),
    (lambda _: catalogue_pb2.ListSkusRequest(), "inventory.read"),
    (lambda _: catalogue_pb2.ListLocationsRequest(), "inventory.read"),
    (ship, "inventory.ship"),
    (lambda _: availability_pb2.GetAvailabilityRequest(sku="x"), "inventory.read"),
    (lambda _: availability_pb2.BatchGetAvailabilityRequest(skus=["x"]), "inventory.read"),
    (lambda _: stock_pb2.ListStockLevelsRequest(), "inventory.read"),
    (lambda _: stock_pb2.ListStockEventsRequest(), "inventory.read"),
    (lambda _: stock_pb2.GetStockAsOfRequest(keys=[stock_pb2.LevelKey(sku="x", location="y")], revision=1), "inventory.read"),
    (lambda _: watch_pb2.WatchStockRequest(), "inventory.read"),
    (lambda _: stock_pb2.VerifyLedgerRequest(), "inventory.audit"),
]  # fmt: skip


def test_every_rpc_has_its_row() -> None:
    shelf = Shelf("x", "y")
    methods = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"].methods
    assert {name_of(make(shelf)) for make, _ in REQUESTS} == {method.name for method in methods}


@pytest.mark.parametrize(("make", "scope"), REQUESTS)
async def test_a_token_without_the_scope_is_refused_and_the_scope_named(
    stack: Stack, service: Process, shelf: Shelf, make: Call, scope: str
) -> None:
    token = stack.token(scopes=SCOPES - {scope})
    async with client(stack, service.target, token=token) as limited:
        refused = await refusal(limited, make(shelf))
    assert (refused.kind, refused.reason, dict(refused.metadata)) == (
        Kind.FORBIDDEN,
        "MISSING_SCOPE",
        {"scopes": scope},
    )
