"""What callers of the REST interface get from memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from beautymesh.edge.v1 import storefront_pb2
from beautymesh.inventory.v1 import availability_pb2
from edge_gateway.clients import availability
from edge_gateway.clients.availability import AvailabilityCache
from edge_gateway.clients.storefront import Storefront
from edge_gateway.rest.availability import BATCH_GET, GET, GET_STOREFRONT, INVENTORY, STOREFRONT, availability_handlers
from edge_gateway.rest.exchange import Answer, Exchange
from meshkit.core.errors import MeshError, Unavailable
from meshkit.core.principal import ANONYMOUS, Principal
from meshkit.rpc.call import Call
from meshkit.rpc.options import read_policies
from tests.edge.availability.fake import LOG, Hand, Inventory, cache_of, delta, row, running, until

GetRequest = availability_pb2.GetAvailabilityRequest
GetResponse = availability_pb2.GetAvailabilityResponse
BatchRequest = availability_pb2.BatchGetAvailabilityRequest
BatchResponse = availability_pb2.BatchGetAvailabilityResponse
PublicRequest = storefront_pb2.GetStorefrontAvailabilityRequest

POLICIES = read_policies([INVENTORY, STOREFRONT])
SHOP = Principal("user:ann", "client:shop", frozenset({"inventory.read"}))
APP_ONLY = Principal("user:app", "client:app", frozenset({"inventory.read"}), channels=frozenset({"app"}))
TAG = LOG[-12:]


@dataclass
class Reads:
    """The handlers, before a memory that has A, B and C at revision 7."""

    inventory: Inventory
    clock: Hand
    cache: AvailabilityCache
    passed_on: list[Message] = field(default_factory=list)
    service_says: Message = field(default_factory=lambda: GetResponse(revision=99))

    def __post_init__(self) -> None:
        self.handlers = availability_handlers(
            self.cache, Storefront(self.cache), {GET: self.remote, BATCH_GET: self.remote}
        )

    async def remote(self, request: Message, exchange: Exchange) -> Message:
        """The service's own handler."""
        self.passed_on.append(request)
        return self.service_says

    async def answer(
        self, request: Message, *, principal: Principal = SHOP, no_cache: bool = False
    ) -> Message | Answer:
        name = {GetRequest: GET, BatchRequest: BATCH_GET, PublicRequest: GET_STOREFRONT}[type(request)]
        call = Call(POLICIES[name], principal, None, "", "", None)
        return await self.handlers[name](request, Exchange(call, no_cache))

    async def cached(self, request: Message, *, principal: Principal = SHOP) -> Answer:
        answer = await self.answer(request, principal=principal)
        assert isinstance(answer, Answer), answer
        return answer

    async def public(self, sku: str = "A") -> Answer:
        return await self.cached(PublicRequest(sku=sku), principal=ANONYMOUS)

    async def refusal(self, request: Message, *, principal: Principal = SHOP) -> str:
        with pytest.raises(MeshError) as refused:
            await self.answer(request, principal=principal)
        return refused.value.reason


@pytest.fixture
async def reads() -> AsyncIterator[Reads]:
    inventory, clock = Inventory(), Hand()
    cache = cache_of(inventory, clock=clock)
    async with running(cache):
        await inventory.tell(cache, 7)
        reads = Reads(inventory, clock, cache)
        rows = [row("A", 8, 5), row("B", 0, 0), row("C", 100, 7)]
        filling = reads.answer(BatchRequest(skus=["A", "B", "C"]))
        inventory.answer_when_asked(0, *rows, revision=7)
        assert isinstance(await filling, Answer)
        yield reads


def headers(answer: Answer) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in answer.headers}


def read(answer: Answer) -> GetResponse:
    """What its ready JSON says."""
    assert isinstance(answer.body, bytes)
    return json_format.Parse(answer.body, GetResponse())


# One.


async def test_an_answer_from_memory_has_the_services_shape_and_the_entrys_revision(reads: Reads) -> None:
    answer = await reads.cached(GetRequest(sku="A"))
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "availability": {"sku": "A", "channel": "default", "sellable": "8", "revision": "5", "levels": []},
        "revision": "5",
    }
    assert read(answer) == GetResponse(availability=row("A", 8, 5), revision=5)
    assert answer.etag == f"{TAG}-5-8"
    assert headers(answer) == {"age": "0", "cache-status": "beautymesh; hit"}


async def test_the_same_entry_is_the_same_bytes_and_tag_however_far_the_stream_is(reads: Reads) -> None:
    first = await reads.cached(GetRequest(sku="A"))
    await reads.inventory.tell(reads.cache, 9, delta("C", 99, 8))
    reads.clock.seconds += 3
    later = await reads.cached(GetRequest(sku="A", channel="default"))
    assert (later.body, later.etag) == (first.body, first.etag)
    assert headers(later)["age"] == "3"
    await reads.inventory.tell(reads.cache, 10, delta("A", 7, 10))
    changed = await reads.cached(GetRequest(sku="A"))
    assert changed.etag == f"{TAG}-10-7"
    assert read(changed) == GetResponse(availability=row("A", 7, 10), revision=10)


async def test_what_is_not_in_memory_is_fetched_and_says_so(reads: Reads) -> None:
    reads.inventory.answer_when_asked(1, row("D", 4, 2), revision=7)
    answer = await reads.cached(GetRequest(sku="D"))
    assert read(answer) == GetResponse(availability=row("D", 4, 2), revision=2)
    assert headers(answer) == {"age": "0", "cache-status": "beautymesh; fwd=uri-miss"}
    assert headers(await reads.cached(GetRequest(sku="D")))["cache-status"] == "beautymesh; hit"


PASSED_ON = [
    (GetRequest(sku="A"), True),
    (GetRequest(sku="A", min_revision=1), False),
    (GetRequest(sku="A", min_revision=-1), False),
    (GetRequest(sku="A", include_levels=True), False),
    (BatchRequest(skus=["A"]), True),
    (BatchRequest(skus=["A"], min_revision=1), False),
    (BatchRequest(skus=["A"], include_levels=True), False),
]


@pytest.mark.parametrize(("request_", "no_cache"), PASSED_ON)
async def test_what_must_be_exact_or_has_more_than_memory_goes_to_the_service(
    reads: Reads,
    request_: Message,
    no_cache: bool,  # noqa: FBT001 — a table's
) -> None:
    answer = await reads.answer(request_, no_cache=no_cache)
    assert (answer.body if isinstance(answer, Answer) else answer) == GetResponse(revision=99)
    assert reads.passed_on == [request_]


async def test_the_service_and_memory_have_one_tag_for_one_state(reads: Reads) -> None:
    reads.service_says = GetResponse(availability=row("A", 8, 5), revision=99)
    memory = await reads.cached(GetRequest(sku="A"))
    for asked, no_cache in ((GetRequest(sku="A"), True), (GetRequest(sku="A", min_revision=9), False)):
        service = await reads.answer(asked, no_cache=no_cache)
        assert service == Answer(reads.service_says, (), memory.etag)
    reads.service_says = GetResponse(availability=row("A", 10, 5), revision=99)  # a hold has just lapsed
    service = await reads.answer(GetRequest(sku="A"), no_cache=True)
    assert (memory.etag, service) == (f"{TAG}-5-8", Answer(reads.service_says, (), f"{TAG}-5-10"))


async def test_levels_have_no_tag_of_the_quantity_over_them(reads: Reads) -> None:
    assert await reads.answer(GetRequest(sku="A", include_levels=True)) == reads.service_says


async def test_what_the_service_says_has_no_tag_of_a_log_that_may_not_be_its_own(reads: Reads) -> None:
    reads.service_says = GetResponse(availability=row("A", 8, 5), revision=99)
    reads.clock.seconds += availability.SILENT_SECONDS_MAX + 1
    assert await reads.answer(GetRequest(sku="A"), no_cache=True) == Answer(reads.service_says)
    await reads.inventory.tell(reads.cache, 8)

    async def meanwhile(request: Message, exchange: Exchange) -> Message:
        reads.inventory.end_stream(Unavailable("gone"))
        await until(lambda: reads.cache.is_broken)
        return reads.service_says

    remote = {GET: meanwhile, BATCH_GET: meanwhile}
    reads.handlers = availability_handlers(reads.cache, Storefront(reads.cache), remote)
    assert await reads.answer(GetRequest(sku="A"), no_cache=True) == reads.service_says


async def test_a_channel_outside_the_callers_grant_is_refused_from_memory_too(reads: Reads) -> None:
    assert await reads.refusal(GetRequest(sku="A"), principal=APP_ONLY) == "OUTSIDE_GRANT"
    assert await reads.refusal(BatchRequest(skus=["A"]), principal=APP_ONLY) == "OUTSIDE_GRANT"
    assert len(reads.inventory.requests) == 1


WRONG = [
    GetRequest(),
    GetRequest(sku="x" * 65),
    GetRequest(sku="a\x00b"),
    GetRequest(sku="A", channel="x" * 65),
    BatchRequest(),
    BatchRequest(skus=["A", ""]),
    BatchRequest(skus=["A"] * 1_001),
    PublicRequest(),
    PublicRequest(sku="A", channel="\n"),
]


@pytest.mark.parametrize("request_", WRONG)
async def test_a_malformed_name_is_refused_before_it_spoils_a_call_of_many(reads: Reads, request_: Message) -> None:
    assert await reads.refusal(request_) == "INVALID_REQUEST"
    assert len(reads.inventory.requests) == 1


async def test_a_broken_stream_is_said_with_an_age_that_grows_while_answers_go_on(reads: Reads) -> None:
    before = await reads.cached(GetRequest(sku="A"))
    reads.inventory.end_stream(Unavailable("gone"))
    await until(lambda: reads.cache.is_broken)
    reads.clock.seconds += 17.9
    broken = await reads.cached(GetRequest(sku="A"))
    assert (broken.body, broken.etag) == (before.body, before.etag)
    assert headers(broken) == {"age": "17", "cache-status": "beautymesh; hit; ttl=-17; detail=STREAM_BROKEN"}
    reads.clock.seconds += 60
    assert headers(await reads.cached(GetRequest(sku="A")))["age"] == "77"
    assert headers(await reads.cached(BatchRequest(skus=["A"])))["age"] == "77"
    assert headers(await reads.public())["age"] == "77"


# Several.


async def test_several_are_answered_in_order_at_the_streams_position(reads: Reads) -> None:
    await reads.inventory.tell(reads.cache, 9, delta("C", 99, 8))
    reads.inventory.answer_when_asked(1, revision=9, unknown="X")
    answer = await reads.cached(BatchRequest(skus=["C", "X", "A", "C"]))
    assert answer.body == BatchResponse(
        availabilities=[row("C", 99, 8), row("A", 8, 5), row("C", 99, 8)], unknown_skus=["X"], revision=9
    )


async def test_a_batch_is_a_hit_only_if_nothing_of_it_was_fetched(reads: Reads) -> None:
    reads.clock.seconds += 3
    answers = [await reads.cached(BatchRequest(skus=["A", "B"]))]
    reads.inventory.answer_when_asked(1, row("D", 4, 2), revision=7, unknown="X")
    answers.append(await reads.cached(BatchRequest(skus=["A", "D", "X"])))
    answers.append(await reads.cached(BatchRequest(skus=["A", "D", "X"])))  # the unknown one is remembered
    reads.inventory.answer_when_asked(2, row("E", 4, 2), revision=7)
    answers.append(await reads.cached(BatchRequest(skus=["E"])))
    reads.clock.seconds += availability.SILENT_SECONDS_MAX
    reads.inventory.answer_when_asked(3, row("F", 4, 2), revision=7)
    answers.append(await reads.cached(BatchRequest(skus=["A", "F"])))
    assert [headers(answer) for answer in answers] == [
        {"age": "3", "cache-status": "beautymesh; hit"},
        {"age": "3", "cache-status": "beautymesh; fwd=uri-miss"},
        {"age": "3", "cache-status": "beautymesh; hit"},
        {"age": "0", "cache-status": "beautymesh; fwd=uri-miss"},
        {"age": "23", "cache-status": "beautymesh; fwd=uri-miss; ttl=-23; detail=STREAM_BROKEN"},
    ]


def batch(revision: int, *known: availability_pb2.Availability, unknown: str = "") -> BatchResponse:
    return BatchResponse(availabilities=known, unknown_skus=unknown.split(), revision=revision)


async def test_what_is_evicted_while_the_rest_is_fetched_is_answered_where_it_held() -> None:
    inventory = Inventory()
    cache = cache_of(inventory, entries_max=1)
    async with running(cache):
        await inventory.tell(cache, 7)
        reads = Reads(inventory, Hand(), cache)
        inventory.answer_when_asked(0, row("A", 8, 5), revision=7)
        await reads.cached(GetRequest(sku="A"))
        both = asyncio.create_task(reads.answer(BatchRequest(skus=["A", "B"])))
        await inventory.asked(2)
        inventory.answer_when_asked(2, row("C", 1, 1), revision=7)
        await reads.cached(GetRequest(sku="C"))
        assert cache.find("A", "default") is None
        await inventory.tell(cache, 9, delta("A", 0, 9))
        await inventory.answer(1, row("B", 2, 6), revision=9)
        answer = await both
        assert isinstance(answer, Answer)
        assert answer.body == batch(7, row("A", 8, 5), row("B", 2, 6))


async def test_what_is_of_before_a_new_snapshot_is_not_answered_with_what_is_of_after_it(reads: Reads) -> None:
    both = asyncio.create_task(reads.answer(BatchRequest(skus=["A", "D"])))
    await reads.inventory.asked(2)
    reads.inventory.begin_snapshot(20)  # A changed at 15, and is not told
    await until(lambda: reads.cache.position == 20)
    await reads.inventory.answer(1, row("D", 2, 6), revision=20)
    assert await both == GetResponse(revision=99)
    assert reads.passed_on == [BatchRequest(skus=["A", "D"])]


async def test_what_is_unknown_is_answered_where_it_was_asked(reads: Reads) -> None:
    waiting = asyncio.create_task(reads.answer(BatchRequest(skus=["A", "X"])))
    await reads.inventory.asked(2)
    await reads.inventory.tell(reads.cache, 9)  # X was made known at 9
    await reads.inventory.answer(1, revision=8, unknown="X")
    answer = await waiting
    assert isinstance(answer, Answer)
    assert answer.body == batch(8, row("A", 8, 5), unknown="X")

    waiting = asyncio.create_task(reads.answer(BatchRequest(skus=["A", "Y"])))
    await reads.inventory.asked(3)
    await reads.inventory.tell(reads.cache, 11, delta("A", 7, 11))
    await reads.inventory.answer(2, revision=10, unknown="Y")
    assert await waiting == GetResponse(revision=99)


async def test_several_that_were_never_true_together_are_asked_of_the_service(reads: Reads) -> None:
    reads.inventory.answer_when_asked(1, row("D", 4, 8), revision=8)  # the stream has told of 7
    await reads.cached(GetRequest(sku="D"))
    request = BatchRequest(skus=["A", "D"])
    assert await reads.answer(request) == GetResponse(revision=99)
    assert reads.passed_on == [request]
    await reads.inventory.tell(reads.cache, 8, delta("D", 4, 8))
    answer = await reads.cached(request)
    assert answer.body == BatchResponse(availabilities=[row("A", 8, 5), row("D", 4, 8)], revision=8)


# Anybody.

VIEWS = [
    # units, status, what is told of them
    (0, "STOCK_STATUS_OUT", 0),
    (1, "STOCK_STATUS_LOW", 1),
    (5, "STOCK_STATUS_LOW", 5),
    (6, "STOCK_STATUS_IN_STOCK", 6),
    (10, "STOCK_STATUS_IN_STOCK", 10),
    (11, "STOCK_STATUS_IN_STOCK", 10),
    (1_000, "STOCK_STATUS_IN_STOCK", 10),
]


@pytest.mark.parametrize(("units", "status", "quantity"), VIEWS)
async def test_anybody_is_told_a_status_and_a_capped_quantity(
    reads: Reads, units: int, status: str, quantity: int
) -> None:
    await reads.inventory.tell(reads.cache, 8, delta("A", units, 8))
    answer = await reads.public()
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "sku": "A",
        "channel": "default",
        "status": status,
        "quantityCapped": str(quantity),
    }


async def test_sales_that_do_not_change_the_view_leave_no_trace_in_it(reads: Reads) -> None:
    """Neither body, nor tag, nor age, nor whether somebody else has looked."""
    before = await reads.public("C")
    reads.clock.seconds += 5
    quiet = await reads.public("C")
    await reads.inventory.tell(reads.cache, 8, delta("C", 60, 8))
    sold = await reads.public("C")
    await reads.inventory.tell(reads.cache, 9, delta("C", 11, 9))
    assert [before, quiet, sold, await reads.public("C")] == [before] * 4
    await reads.inventory.tell(reads.cache, 10, delta("C", 9, 10))
    low = await reads.public("C")
    assert low.etag != before.etag
    assert low.body != before.body


async def test_a_first_look_says_no_more_than_a_second(reads: Reads) -> None:
    reads.inventory.answer_when_asked(1, row("D", 40, 2), revision=7)
    assert await reads.public("D") == await reads.public("D")


async def test_nobody_without_a_token_gets_past_the_memory(reads: Reads) -> None:
    answer = await reads.answer(PublicRequest(sku="A"), principal=ANONYMOUS, no_cache=True)
    assert answer == await reads.public()
    assert (reads.passed_on, len(reads.inventory.requests)) == ([], 1)


async def test_strangers_who_make_up_channels_are_refused_and_callers_with_a_token_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(availability, "ANONYMOUS_WAITS_MAX", 1)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        reads = Reads(inventory, Hand(), cache)
        stranger = asyncio.create_task(reads.answer(PublicRequest(sku="A", channel="made-up"), principal=ANONYMOUS))
        await inventory.asked(1)
        assert await reads.refusal(PublicRequest(sku="A"), principal=ANONYMOUS) == "TOO_MANY_REQUESTS"
        inventory.answer_when_asked(1, row("A", 8, 5), revision=7)
        assert read(await reads.cached(GetRequest(sku="A"))) == GetResponse(availability=row("A", 8, 5), revision=5)
        stranger.cancel()
