"""Each RPC over the wire: what it answers, what it leaves, and what its repeat answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import context_pb2
from beautymesh.profile.v1 import profile_pb2
from meshkit.core.errors import Kind, MeshError
from tests.profile.people import PeopleDatabase
from tests.profile.rpc.calls import Service, Stub, buy, line, money, refusal, send, upsert

YESTERDAY = Timestamp(seconds=int(datetime(2026, 2, 28, 9, tzinfo=UTC).timestamp()), nanos=123_456_000)


def get(profile_id: str = "ann", min_revision: int = 0) -> profile_pb2.GetProfileRequest:
    return profile_pb2.GetProfileRequest(profile_id=profile_id, min_revision=min_revision)


async def purchases(stub: Stub, profile_id: str = "ann", **fields: Any) -> profile_pb2.ListPurchasesResponse:  # noqa: ANN401 — a table's
    return await stub.ListPurchases(profile_pb2.ListPurchasesRequest(profile_id=profile_id, **fields))


async def test_a_profile_lives_from_its_tags_to_its_orders(stub: Stub) -> None:
    made = await stub.UpsertProfile(upsert("ann", "vegan", "gold"))
    assert (made.created, made.revision, made.profile.revision) == (True, 1, 1)
    bought = await stub.RecordPurchase(buy("ann"))
    assert (bought.order_count, bought.revision) == (1, 2)
    again = await stub.UpsertProfile(upsert("ann", "gold"))
    assert (again.created, again.revision) == (False, 3)
    found = await stub.GetProfile(get(min_revision=3))
    assert found.revision == 3
    assert found.profile == again.profile
    assert (list(found.profile.tags), found.profile.order_count) == (["gold"], 1)
    assert found.profile.create_time == made.profile.create_time


async def test_equal_tags_answer_the_revision_that_there_was(stub: Stub, database: PeopleDatabase) -> None:
    first = await stub.UpsertProfile(upsert("ann", "a", "b"))
    same = await stub.UpsertProfile(upsert("ann", "b", "a"))
    assert (same.created, same.profile, same.revision) == (False, first.profile, 1)
    assert database.head()[0] == 1


async def test_facts_of_the_known_and_of_the_unknown(stub: Stub) -> None:
    await stub.UpsertProfile(upsert("ann", "vegan", "gold"))
    await stub.RecordPurchase(buy("ann"))
    known = await stub.GetProfileFacts(profile_pb2.GetProfileFactsRequest(profile_id="ann"))
    assert known == profile_pb2.GetProfileFactsResponse(known=True, tags=["gold", "vegan"], order_count=1, revision=2)
    unknown = await stub.GetProfileFacts(profile_pb2.GetProfileFactsRequest(profile_id="who?"))
    assert unknown == profile_pb2.GetProfileFactsResponse(known=False, revision=2)


async def test_a_purchase_is_listed_as_it_was_recorded(stub: Stub) -> None:
    lines = [line("A", 2, 500), profile_pb2.PurchaseLine(sku="B", quantity=1), line("A", 1, -100)]
    request = buy("ann", purchase_id="p", channel="store", lines=lines, occur_time=YESTERDAY, total=money(899))
    answer = await stub.RecordPurchase(request)
    assert answer == profile_pb2.RecordPurchaseResponse(purchase_id="p", order_count=1, revision=1)
    listed = await purchases(stub)
    (found,) = listed.purchases
    assert found.record_time.ToNanoseconds() > YESTERDAY.ToNanoseconds()
    assert found == profile_pb2.Purchase(
        purchase_id="p", profile_id="ann", order_reference="order-1", channel="store", lines=lines, total=money(899),
        occur_time=YESTERDAY, record_time=found.record_time, revision=1,
    )  # fmt: skip
    assert (listed.next_page_token, listed.revision) == ("", 1)


async def test_what_is_not_said_is_filled_in(stub: Stub) -> None:
    """An id, the channel `default`, and now."""
    first = await stub.RecordPurchase(buy())
    second = await stub.RecordPurchase(buy())
    assert first.purchase_id != second.purchase_id
    found = (await purchases(stub)).purchases
    assert [each.purchase_id for each in found] == [second.purchase_id, first.purchase_id]
    assert [each.channel for each in found] == ["default", "default"]
    assert [each.occur_time for each in found] == [each.record_time for each in found]


async def test_the_log_keeps_when_it_was_bought_and_who_told_it(stub: Stub, database: PeopleDatabase) -> None:
    request = buy("ann", occur_time=YESTERDAY, context=context_pb2.CommandContext(reference="basket-7"))
    await stub.RecordPurchase(request)
    rows = database.rows("SELECT occur_time, principal, client_id, request_id, reference FROM log_event")
    expected = (YESTERDAY.ToDatetime(UTC), "user:client:test", "client:test", request.request_id, "basket-7")
    assert rows == [expected, expected]


async def test_profiles_come_in_pages_without_gap_or_repeat(stub: Stub) -> None:
    for number in range(7):
        await stub.UpsertProfile(upsert(f"p{number}", *(["even"] if number % 2 == 0 else [])))
    for tag, expected in (("", [f"p{number}" for number in range(7)]), ("even", ["p0", "p2", "p4", "p6"])):
        request = profile_pb2.ListProfilesRequest(tag=tag, page_size=2)
        found: list[str] = []
        while True:
            page = await stub.ListProfiles(request)
            found.extend(each.profile_id for each in page.profiles)
            assert page.revision == 7
            if not page.next_page_token:
                break
            assert len(page.profiles) == 2
            request.page_token = page.next_page_token
        assert found == expected


async def test_purchases_come_in_pages_newest_first_though_more_are_recorded_meanwhile(stub: Stub) -> None:
    made = [(await stub.RecordPurchase(buy())).purchase_id for _ in range(5)]
    request = profile_pb2.ListPurchasesRequest(profile_id="ann", page_size=2)
    found: list[str] = []
    while True:
        page = await stub.ListPurchases(request)
        found.extend(each.purchase_id for each in page.purchases)
        if not page.next_page_token:
            break
        await stub.RecordPurchase(buy())
        request.page_token = page.next_page_token
    assert found == made[::-1]


async def test_purchases_are_filtered_by_sku_and_channel(stub: Stub) -> None:
    for purchase_id, sku, channel in (("1", "A", "app"), ("2", "B", "app"), ("3", "A", "store")):
        await stub.RecordPurchase(buy(purchase_id=purchase_id, lines=[line(sku)], channel=channel))

    async def found(**filters: str) -> list[str]:
        return [each.purchase_id for each in (await purchases(stub, **filters)).purchases]

    assert await found(sku="A") == ["3", "1"]
    assert await found(channel="app") == ["2", "1"]
    assert await found(sku="A", channel="app") == ["1"]
    assert await found(sku="C") == []


async def test_the_largest_page_fits_into_a_message(stub: Stub) -> None:
    """The longest SKUs, in as many lines as a body may have: their pages end early, and nothing is lost."""
    lines = [line("💄" * 64, 1_000_000, 10**15) for _ in range(900)]
    for _ in range(25):
        await stub.RecordPurchase(buy(lines=lines), timeout=10)
    first = await purchases(stub, page_size=1_000)
    rest = await purchases(stub, page_size=1_000, page_token=first.next_page_token)
    assert (len(first.purchases), len(rest.purchases), rest.next_page_token) == (23, 2, "")


@pytest.mark.parametrize(
    ("request_class", "other"),
    [(profile_pb2.ListProfilesRequest, {"tag": "x"}), (profile_pb2.ListPurchasesRequest, {"sku": "x"})],
)
async def test_a_page_token_of_another_filter_is_refused(
    stub: Stub, request_class: type[Message], other: dict[str, str]
) -> None:
    ann = {"profile_id": "ann"} if request_class is profile_pb2.ListPurchasesRequest else {}
    for _ in range(2):
        await stub.RecordPurchase(buy())
    await stub.UpsertProfile(upsert("bea"))
    page = await send(stub, request_class(**ann, page_size=1))
    token = page.next_page_token  # type: ignore[attr-defined]  # of either answer
    refused = await refusal(stub, request_class(**ann, **other, page_token=token))
    assert (refused.kind, refused.reason) == (Kind.INVALID, "INVALID_PAGE_TOKEN")


REPEATS = [
    # the request, a field, and another value for it
    (upsert("ann", "a"), "profile_id", "bea"),
    (upsert("ann", "a"), "tags", ["b"]),
    (buy("ann"), "profile_id", "bea"),
    (buy("ann"), "purchase_id", "p"),
    (buy("ann"), "order_reference", "order-2"),
    (buy("ann"), "channel", "store"),
    (buy("ann"), "lines", [line("B")]),
    (buy("ann"), "total", money(1)),
    (buy("ann"), "occur_time", YESTERDAY),
]


@pytest.mark.parametrize(("request_", "field", "value"), REPEATS)
async def test_a_repeat_has_the_first_answer_and_another_body_is_refused(
    stub: Stub, database: PeopleDatabase, request_: Message, field: str, value: object
) -> None:
    first = await send(stub, request_)
    assert await send(stub, request_) == first
    other = type(request_)(
        **{each.name: found for each, found in request_.ListFields() if each.name != field}, **{field: value}
    )
    refused = await refusal(stub, other)
    assert (refused.kind, refused.reason) == (Kind.REUSED_ID, "REQUEST_ID_REUSED")
    assert refused.metadata["field"] == field
    assert database.head()[0] == 1


async def test_a_purchase_id_is_taken_for_every_other_request(
    service: Service, stub: Stub, database: PeopleDatabase
) -> None:
    await stub.RecordPurchase(buy(purchase_id="p"))
    async with service.client(name="client:other") as other:
        for caller, request in ((stub, buy(purchase_id="p")), (other, buy("bea", purchase_id="p"))):
            refused = await refusal(caller, request)
            assert (refused.kind, refused.reason, dict(refused.metadata)) == (
                Kind.REFUSED,
                "ID_TAKEN",
                {"purchase_id": "p"},
            )
    assert (database.head()[0], database.order_counts()) == (1, {"ann": 1})


async def test_concurrent_purchases_and_repeats_are_counted_once_each(stub: Stub, database: PeopleDatabase) -> None:
    requests = [buy() for _ in range(30)]
    answers = await asyncio.gather(*[stub.RecordPurchase(each) for each in requests * 2])
    assert sorted(answer.order_count for answer in answers[:30]) == list(range(1, 31))
    assert answers[:30] == answers[30:]
    assert database.order_counts() == {"ann": 30}


async def test_a_former_owner_of_a_saga_is_refused(service: Service, database: PeopleDatabase) -> None:
    def of_saga(fence: int) -> context_pb2.CommandContext:
        return context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id="s", fence=fence))

    async with service.client(through_edge=True) as edge:
        await edge.RecordPurchase(buy(context=of_saga(2)))
        refused = await refusal(edge, buy(context=of_saga(1)))
    assert (refused.kind, refused.reason) == (Kind.CONFLICT, "STALE_FENCE")
    assert database.order_counts() == {"ann": 1}


async def test_a_client_limited_to_a_channel_records_and_sees_purchases_there_only(
    service: Service, stub: Stub
) -> None:
    await stub.RecordPurchase(buy(purchase_id="elsewhere"))
    async with service.client(name="client:till", channels=frozenset({"store"})) as till:
        for request in (buy(), buy(channel="app"), profile_pb2.ListPurchasesRequest(profile_id="ann", channel="app")):
            refused = await refusal(till, request)
            assert (refused.kind, refused.reason) == (Kind.FORBIDDEN, "OUTSIDE_GRANT")
        await till.RecordPurchase(buy(purchase_id="here", channel="store"))
        assert [each.purchase_id for each in (await purchases(till)).purchases] == ["here"]
    assert [each.purchase_id for each in (await purchases(stub)).purchases] == ["here", "elsewhere"]


async def test_the_audit_streams_to_its_end_and_names_what_it_finds(stub: Stub, database: PeopleDatabase) -> None:
    await stub.RecordPurchase(buy())
    steps = [step async for step in stub.VerifyProfiles(profile_pb2.VerifyProfilesRequest())]
    assert [problem for step in steps for problem in step.problems] == []
    last = steps[-1]
    assert (last.done, last.checked_revision, last.head_revision, last.checked_rows) == (True, 1, 1, 3)
    database.rows("UPDATE profile SET order_count = 5")
    steps = [step async for step in stub.VerifyProfiles(profile_pb2.VerifyProfilesRequest())]
    found = [(each.subject, each.expected, each.found) for step in steps for each in step.problems]
    assert found == [("profile ann", "1", "5")] * 2


@pytest.mark.bound(seconds=0.2)
async def test_a_revision_that_does_not_become_visible_is_unavailable_within_the_deadline(stub: Stub) -> None:
    await stub.UpsertProfile(upsert("ann"))

    async def answered(request: Message) -> str:
        with pytest.raises(MeshError) as refused:
            await getattr(stub, request.DESCRIPTOR.name.removesuffix("Request"))(request, timeout=4)
        return refused.value.reason

    requests = [
        get(min_revision=9),
        profile_pb2.ListProfilesRequest(min_revision=9),
        profile_pb2.GetProfileFactsRequest(profile_id="ann", min_revision=9),
        profile_pb2.ListPurchasesRequest(profile_id="ann", min_revision=9),
    ]
    found = await asyncio.gather(*[answered(each) for each in requests])
    assert found == ["REVISION_NOT_YET_VISIBLE"] * len(requests)
