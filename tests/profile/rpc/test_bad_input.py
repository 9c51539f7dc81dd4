"""Whatever a caller sends, the answer says what is wrong with it, and nothing happens."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import base64
import json
import time

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import context_pb2, money_pb2
from beautymesh.profile.v1 import profile_pb2
from meshkit.core.errors import Kind
from profile_svc.rpc.service import DESCRIPTOR
from tests.profile.people import PeopleDatabase
from tests.profile.rpc.calls import SCOPES, Service, Stub, buy, line, money, name_of, refusal, send, upsert

TOMORROW = int(time.time()) + 86_400

INVALID: list[tuple[str, Message, str]] = [
    # what is wrong, the request, the field that must be named
    *[(f"{text!r} as a profile", upsert(text), "profile_id")
      for text in ("", "ann@example.org", "a b", "a\0", "a/b", "ä", "x" * 129)],
    *[(f"{text!r} as a profile that bought", buy(text), "profile_id") for text in ("", "ann@example.org", "a\0")],
    *[(f"{text!r} as a profile to get", profile_pb2.GetProfileRequest(profile_id=text), "profile_id")
      for text in ("", "ann@example.org", "a\0")],
    ("no profile to list purchases of", profile_pb2.ListPurchasesRequest(), "profile_id"),
    ("no profile to know facts of", profile_pb2.GetProfileFactsRequest(), "profile_id"),
    ("U+0000 in a profile to know facts of", profile_pb2.GetProfileFactsRequest(profile_id="a\0"), "profile_id"),
    *[(f"{text!r} as a tag", upsert("ann", "ok", text), "tags[1]") for text in ("", "a b", "a\0", "x" * 65, "ä")],
    ("65 tags", upsert("ann", *[str(number) for number in range(65)]), "tags"),
    ("a tag twice", upsert("ann", "a", "a"), "tags"),
    ("no request id", buy(request_id=""), "request_id"),
    ("no request id to upsert", upsert(request_id=""), "request_id"),
    ("U+0000 in a request id", buy(request_id="a\0"), "request_id"),
    ("a purchase id that is too long", buy(purchase_id="x" * 65), "purchase_id"),
    ("U+0000 in a purchase id", buy(purchase_id="a\0"), "purchase_id"),
    ("no order", buy(order_reference=""), "order_reference"),
    ("U+0000 in an order", buy(order_reference="a\0"), "order_reference"),
    ("U+0000 in a channel", buy(channel="a\0"), "channel"),
    ("no lines", buy(lines=[]), "lines"),
    ("1,001 lines", buy(lines=[line()] * 1_001), "lines"),
    ("a line without a SKU", buy(lines=[line("")]), "lines[0].sku"),
    ("U+0000 in a SKU", buy(lines=[line("a\0")]), "lines[0].sku"),
    *[(f"{quantity} units", buy(lines=[line(), line("A", quantity)]), "lines[1].quantity")
      for quantity in (0, -1, 10**6 + 1, -(2**63))],
    ("no total", buy(total=None), "total"),
    ("a total without a currency", buy(total=money(1, "")), "total.currency"),
    ("a total in a currency that is none", buy(total=money(1, "eur")), "total.currency"),
    ("a total that is too large", buy(total=money(10**15 + 1)), "total.minor"),
    ("a line's total without a currency", buy(lines=[line(currency="")]), "lines[0].total.currency"),
    ("an empty total of a line", buy(lines=[profile_pb2.PurchaseLine(sku="A", quantity=1, total=money_pb2.Money())]),
     "lines[0].total.currency"),
    ("a line's total that is too large", buy(lines=[line(minor=-(10**15) - 1)]), "lines[0].total.minor"),
    ("bought in the future", buy(occur_time=Timestamp(seconds=TOMORROW)), "occur_time"),
    *[(f"bought out of this world ({seconds} s, {nanos} ns)", buy(occur_time=Timestamp(seconds=seconds, nanos=nanos)), "occur_time")
      for seconds, nanos in ((2**62, 0), (-(2**62), 0), (253402300800, 0), (-1, 0), (0, -1), (0, 10**9))],
    ("a fence that is not positive", buy(context=context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id="s"))),
     "context.saga.fence"),
    ("U+0000 in a reference", upsert(context=context_pb2.CommandContext(reference="a\0")), "context.reference"),
    ("a page of 1,001 profiles", profile_pb2.ListProfilesRequest(page_size=1_001), "page_size"),
    ("a page of -1 purchases", profile_pb2.ListPurchasesRequest(profile_id="ann", page_size=-1), "page_size"),
    ("U+0000 in a tag to list", profile_pb2.ListProfilesRequest(tag="a\0"), "tag"),
    ("U+0000 in a SKU to list", profile_pb2.ListPurchasesRequest(profile_id="ann", sku="a\0"), "sku"),
    ("U+0000 in a channel to list", profile_pb2.ListPurchasesRequest(profile_id="ann", channel="a\0"), "channel"),
    ("a negative revision", profile_pb2.GetProfileRequest(profile_id="ann", min_revision=-1), "min_revision"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "field"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
async def test_a_request_out_of_bounds_is_refused_and_its_field_named(
    stub: Stub, database: PeopleDatabase, request_: Message, field: str
) -> None:
    refused = await refusal(stub, request_)
    assert (refused.kind, refused.reason) == (Kind.INVALID, "INVALID_REQUEST"), refused.message
    assert [each.field for each in refused.violations] == [field]
    assert database.head()[0] == 0


AT_THE_BOUND = [
    ("a profile of 128 characters", upsert("x" * 128)),
    ("every character of an id", upsert("aZ09_.:-")),
    ("64 tags of 64 characters", upsert("ann", *[f"{number:064}" for number in range(64)])),
    ("1,000 lines", buy(lines=[line()] * 1_000)),
    ("10^6 units", buy(lines=[line("A", 10**6)])),
    ("the largest amount", buy(total=money(10**15))),
    ("a refund on a line", buy(lines=[line(minor=-(10**15))])),
    ("bought at the beginning of time", buy(occur_time=Timestamp(seconds=0, nanos=999_999_999))),
    ("characters of four bytes", buy(purchase_id="💄" * 64, channel="💄" * 64, order_reference="💄" * 128)),
    ("quotes and braces", buy(purchase_id="'\"{},\\", channel="{a,b}", lines=[line("{NULL}")])),
]


@pytest.mark.parametrize("request_", [case[1] for case in AT_THE_BOUND], ids=[case[0] for case in AT_THE_BOUND])
async def test_a_request_at_its_bound_is_served(stub: Stub, database: PeopleDatabase, request_: Message) -> None:
    await send(stub, request_)
    assert database.head()[0] == 1


async def test_lines_of_another_currency_are_named(stub: Stub, database: PeopleDatabase) -> None:
    refused = await refusal(stub, buy(lines=[line(), line(currency="USD")]))
    assert (refused.kind, refused.reason) == (Kind.INVALID, "CURRENCY_MISMATCH")
    assert [each.field for each in refused.violations] == ["lines[1].total.currency"]
    assert database.head()[0] == 0


@pytest.mark.parametrize("request_", [
    profile_pb2.GetProfileRequest(profile_id="nobody"), profile_pb2.ListPurchasesRequest(profile_id="nobody"),
])  # fmt: skip
async def test_who_is_not_known_is_not_found(stub: Stub, request_: Message) -> None:
    refused = await refusal(stub, request_)
    assert (refused.kind, refused.reason) == (Kind.NOT_FOUND, "UNKNOWN_PROFILE")
    assert dict(refused.metadata) == {"profile_id": "nobody"}


@pytest.mark.parametrize("token", ["x", "💄", "\0", base64.urlsafe_b64encode(json.dumps(["x", 1]).encode()).decode()])
@pytest.mark.parametrize("request_class", [profile_pb2.ListProfilesRequest, profile_pb2.ListPurchasesRequest])
async def test_a_page_token_that_was_not_given_is_refused(stub: Stub, token: str, request_class: type[Message]) -> None:
    ann = {"profile_id": "ann"} if request_class is profile_pb2.ListPurchasesRequest else {}
    refused = await refusal(stub, request_class(**ann, page_token=token))
    assert (refused.kind, refused.reason) == (Kind.INVALID, "INVALID_PAGE_TOKEN")


REQUESTS: list[tuple[Message, str]] = [
    (upsert(), "profile.write"),
    (profile_pb2.GetProfileRequest(profile_id="ann"), "profile.read"),
    (profile_pb2.ListProfilesRequest(), "profile.read"),
    (profile_pb2.GetProfileFactsRequest(profile_id="ann"), "profile.facts.read"),
    (buy(), "profile.purchase.write"),
    (profile_pb2.ListPurchasesRequest(profile_id="ann"), "profile.read"),
    (profile_pb2.VerifyProfilesRequest(), "profile.audit"),
]


def test_every_rpc_has_its_row() -> None:
    assert {name_of(request) for request, _ in REQUESTS} == {method.name for method in DESCRIPTOR.methods}


@pytest.mark.parametrize(("request_", "scope"), REQUESTS)
async def test_a_token_without_the_scope_is_refused_and_the_scope_named(
    service: Service, database: PeopleDatabase, request_: Message, scope: str
) -> None:
    async with service.client(scopes=SCOPES - {scope}) as limited:
        refused = await refusal(limited, request_)
    assert (refused.kind, refused.reason, dict(refused.metadata)) == (
        Kind.FORBIDDEN,
        "MISSING_SCOPE",
        {"scopes": scope},
    )
    assert database.head()[0] == 0
