"""The cache's fetches and stream, in exact orders of events."""

from __future__ import annotations

import asyncio

import pytest

from beautymesh.inventory.v1.watch_pb2 import StockDelta
from edge_gateway.clients import availability
from edge_gateway.clients.availability import AvailabilityCache
from edge_gateway.clients.entries import Entry, Unknown
from meshkit.core.errors import Kind, MeshError, ResumeTokenForeign, Unavailable
from meshkit.rpc.call import current_call
from meshkit.rpc.status import class_for
from tests.edge.availability.fake import LOG, OTHER_LOG, Hand, Inventory, cache_of, delta, row, running, until


def read(
    cache: AvailabilityCache, *skus: str, channel: str = "default", anonymous: bool = False
) -> asyncio.Task[list[Entry | Unknown]]:
    """A caller."""
    return asyncio.create_task(cache.get_many(skus, channel, anonymous=anonymous))


def shown(found: list[Entry | Unknown]) -> list[tuple[int, int] | None]:
    """Revision and quantity of each; None for what is unknown."""
    return [(each.revision, each.sellable) if isinstance(each, Entry) else None for each in found]


def kept(cache: AvailabilityCache, sku: str) -> tuple[int, int] | None:
    """Revision and quantity in memory."""
    entry = cache.find(sku, "default")
    return None if entry is None else (entry.revision, entry.sellable)


# Fetches.


async def test_what_misses_at_the_same_time_is_one_call_at_the_streams_position() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        callers = [read(cache, "A"), read(cache, "B", "A"), read(cache, "A")]
        await inventory.answer(0, row("A", 1, 5), row("B", 2, 6), revision=8)
        assert [shown(await each) for each in callers] == [[(5, 1)], [(6, 2), (5, 1)], [(5, 1)]]
    (request,) = inventory.requests
    assert (sorted(request.skus), request.channel, request.min_revision) == (["A", "B"], "default", 7)


async def test_who_comes_while_a_key_is_being_fetched_shares_the_call() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        first = read(cache, "A")
        await inventory.asked(1)
        second = read(cache, "A", "B")
        await inventory.asked(2)
        await inventory.answer(0, row("A", 1, 5), revision=7)
        await inventory.answer(1, row("B", 2, 6), revision=7)
        assert (shown(await first), shown(await second)) == ([(5, 1)], [(5, 1), (6, 2)])
    assert [list(request.skus) for request in inventory.requests] == [["A"], ["B"]]


async def test_a_call_asks_for_one_channel_and_a_thousand_skus_at_most() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    skus = [f"S{number}" for number in range(1_001)]
    async with running(cache):
        await inventory.tell(cache, 1)
        callers = [read(cache, *skus[:600]), read(cache, *skus[600:]), read(cache, "S0", channel="app")]
        await inventory.asked(3)
        for each in callers:
            each.cancel()
    assert sorted((request.channel, len(request.skus)) for request in inventory.requests) == [
        ("app", 1),
        ("default", 1),
        ("default", 1_000),
    ]


async def test_a_caller_who_gives_up_does_not_end_the_call_for_others() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        impatient, patient = read(cache, "A"), read(cache, "A")
        await inventory.asked(1)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        await inventory.answer(0, row("A", 1, 1), revision=1)
        assert shown(await patient) == [(1, 1)]
    assert len(inventory.requests) == 1


async def test_a_refused_call_is_everybodys_refusal_and_the_next_read_asks_again() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        callers = [read(cache, "A"), read(cache, "A", "B")]
        await inventory.refuse(0, Unavailable("gone", metadata={"service": "inventory"}))
        refusals = await asyncio.gather(*callers, return_exceptions=True)
        again = read(cache, "A")
        await inventory.answer(1, row("A", 1, 1), revision=1)
        assert shown(await again) == [(1, 1)]
    assert [(type(each), str(each), each.metadata) for each in refusals if isinstance(each, MeshError)] == [
        (Unavailable, "gone", {"service": "inventory"})
    ] * 2


async def test_an_unknown_sku_is_refused_as_by_inventory_and_takes_no_room() -> None:
    inventory = Inventory()
    cache = cache_of(inventory, entries_max=1)
    async with running(cache):
        await inventory.tell(cache, 1)
        known = read(cache, "A")
        await inventory.answer(0, row("A", 1, 1), revision=1)
        await known
        unknown = asyncio.create_task(cache.get("X", "default"))
        await inventory.answer(1, revision=1, unknown="X")
        with pytest.raises(MeshError) as refused:
            await unknown
        assert kept(cache, "A") == (1, 1)
    error = refused.value
    assert (error.reason, error.message, error.metadata, error.meaning.http_status) == (
        "UNKNOWN_SKU",
        "unknown SKU X",
        {"sku": "X"},
        404,
    )


async def test_a_large_batch_is_answered_whole_by_a_small_memory() -> None:
    inventory = Inventory()
    cache = cache_of(inventory, entries_max=1)
    async with running(cache):
        await inventory.tell(cache, 1)
        one = read(cache, "A")
        await inventory.answer(0, row("A", 1, 1), revision=1)
        await one
        both = read(cache, "A", "B", "C")
        await inventory.answer(1, row("B", 2, 1), row("C", 3, 1), revision=1)
        assert shown(await both) == [(1, 1), (1, 2), (1, 3)]


async def test_more_than_can_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "WAITS_MAX", 2)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        waiting = read(cache, "A", "B")
        await inventory.asked(1)
        with pytest.raises(MeshError) as refused:
            await cache.get_many(["A", "B", "C"], "default")
        await inventory.answer(0, row("A", 1, 1), row("B", 1, 1), revision=1)
        assert shown(await waiting) == [(1, 1), (1, 1)]
    assert refused.value.reason == "TOO_MANY_REQUESTS"


async def test_a_refused_batch_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "WAITS_MAX", 2)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        with pytest.raises(MeshError) as refused:
            await cache.get_many(["A", "B", "C"], "default")
        again = read(cache, "D", "E")
        await inventory.answer(0, row("D", 1, 1), row("E", 1, 1), revision=1)
        assert shown(await again) == [(1, 1), (1, 1)]
    assert refused.value.reason == "TOO_MANY_REQUESTS"
    assert [sorted(request.skus) for request in inventory.requests] == [["D", "E"]]


async def test_what_nobody_awaits_any_more_is_not_fetched() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        busy = [read(cache, "A", channel=f"c{number}") for number in range(availability.FETCHES_MAX)]
        await inventory.asked(availability.FETCHES_MAX)
        gone = [read(cache, "A", channel=f"made-up-{number}") for number in range(20)]
        left, patient = read(cache, "A", "B"), read(cache, "B")
        await asyncio.sleep(0)
        for each in (*gone, left):
            each.cancel()
        await asyncio.gather(*gone, left, return_exceptions=True)
        await inventory.answer(0, row("A", 1, 1), revision=1)
        await inventory.answer(availability.FETCHES_MAX, row("B", 2, 1), revision=1)
        assert shown(await patient) == [(1, 2)]
        for each in busy:
            each.cancel()
    requests = inventory.requests[availability.FETCHES_MAX :]
    assert [(request.channel, list(request.skus)) for request in requests] == [("default", ["B"])]


# Callers without a token.


async def test_a_caller_with_a_token_waits_behind_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each channel that a stranger makes up is a call of its own."""
    monkeypatch.setattr(availability, "ANONYMOUS_WAITS_MAX", 20)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        strangers = [read(cache, "A", channel=f"made-up-{number}", anonymous=True) for number in range(20)]
        await inventory.asked(1)
        with pytest.raises(MeshError) as refused:
            await cache.get("A", "one-more", anonymous=True)
        caller = read(cache, "A", channel="made-up-19")
        await inventory.answer(1, row("A", 1, 1), revision=1)
        assert shown(await caller) == [(1, 1)]
        for each in strangers:
            each.cancel()
    assert (refused.value.reason, refused.value.meaning.http_status) == ("TOO_MANY_REQUESTS", 429)
    assert [request.channel for request in inventory.requests] == ["made-up-0", "made-up-19"]


async def test_a_stranger_shares_the_call_of_a_caller_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "ANONYMOUS_WAITS_MAX", 0)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        caller = read(cache, "A")
        await inventory.asked(1)
        stranger = read(cache, "A", anonymous=True)
        await inventory.answer(0, row("A", 1, 1), revision=1)
        assert [shown(await each) for each in (caller, stranger)] == [[(1, 1)]] * 2
    assert len(inventory.requests) == 1


async def test_strangers_share_their_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "ANONYMOUS_WAITS_MAX", 1)
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        strangers = [read(cache, "A", anonymous=True) for _ in range(3)]
        await inventory.answer(0, row("A", 1, 1), revision=1)
        assert [shown(await each) for each in strangers] == [[(1, 1)]] * 3
    assert len(inventory.requests) == 1


# What is unknown.


async def test_an_unknown_sku_is_asked_for_once_a_second_counted_from_the_asking() -> None:
    inventory, clock = Inventory(), Hand()
    cache = cache_of(inventory, clock=clock)
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "X")
        await inventory.asked(1)
        clock.seconds += 0.75
        await inventory.answer(0, revision=1, unknown="X")
        assert shown(await first) == [None]
        clock.seconds += 0.125
        assert shown(await cache.get_many(["X"], "default")) == [None]
        clock.seconds += 0.125
        late = read(cache, "X")
        await inventory.answer(1, row("X", 4, 2), revision=2)
        assert shown(await late) == [(2, 4)]


async def test_an_unknown_channel_is_asked_for_once_a_second_whatever_the_sku() -> None:
    inventory, clock = Inventory(), Hand()
    cache = cache_of(inventory, clock=clock)
    unknown_channel = class_for(Kind.NOT_FOUND, "UNKNOWN_CHANNEL")
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "A", channel="nowhere", anonymous=True)
        await inventory.refuse(0, unknown_channel("unknown channel nowhere", metadata={"channel": "nowhere"}))
        refusals = [*await asyncio.gather(first, return_exceptions=True)]
        for sku in ("A", "B"):
            with pytest.raises(unknown_channel) as refused:
                await cache.get(sku, "nowhere")
            refusals.append(refused.value)
        clock.seconds += 1
        late = read(cache, "A", channel="nowhere")
        await inventory.answer(1, row("A", 4, 2, "nowhere"), revision=2)
        assert shown(await late) == [(2, 4)]
    assert [(str(each), each.metadata) for each in refusals if isinstance(each, MeshError)] == [
        ("unknown channel nowhere", {"channel": "nowhere"})
    ] * 3


async def test_a_call_that_failed_makes_nothing_unknown() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "A")
        await inventory.refuse(0, Unavailable("gone"))
        await asyncio.gather(first, return_exceptions=True)
        again = read(cache, "A")
        await inventory.answer(1, row("A", 1, 1), revision=1)
        assert shown(await again) == [(1, 1)]


async def test_what_was_unknown_is_asked_for_anew_once_the_stream_tells_of_it() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "X", "Y")
        await inventory.answer(0, revision=1, unknown="X Y")
        await first
        await inventory.tell(cache, 3, delta("X", 4, 3))
        again = read(cache, "X", "Y")
        await inventory.answer(1, row("X", 4, 3), revision=3)
        assert shown(await again) == [(3, 4), None]
    assert list(inventory.requests[1].skus) == ["X"]


async def test_what_was_unknown_before_the_stream_starts_over_is_asked_for_anew() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "X")
        await inventory.answer(0, revision=1, unknown="X")
        await first
        under_way = read(cache, "Y")
        await inventory.asked(2)
        inventory.begin_snapshot(20)
        await until(lambda: cache.position == 20)
        await inventory.answer(1, revision=1, unknown="Y")
        assert shown(await under_way) == [None]
        again = read(cache, "X", "Y")
        await inventory.answer(2, row("X", 4, 15), row("Y", 5, 16), revision=20)
        assert shown(await again) == [(15, 4), (16, 5)]
    assert sorted(inventory.requests[2].skus) == ["X", "Y"]


async def test_what_is_known_goes_on_beside_what_is_unknown_while_nobody_can_be_asked() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        first = read(cache, "A", "X")
        await inventory.answer(0, row("A", 1, 1), revision=1, unknown="X")
        assert shown(await first) == [(1, 1), None]
        inventory.end_stream(Unavailable("gone"))
        await until(lambda: cache.is_broken)
        assert shown(await cache.get_many(["A", "X"], "default")) == [(1, 1), None]
    assert len(inventory.requests) == 1


async def test_a_call_is_made_for_nobody_in_particular() -> None:
    """What it brings is everybody's, so no caller's deadline and authority may be with it."""
    seen: list[object] = []

    class Watched(Inventory):
        async def BatchGetAvailability(self, request, *, timeout):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ASYNC109, N802 — as above
            seen.append(current_call.get())
            return await super().BatchGetAvailability(request, timeout=timeout)

    inventory = Watched()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        mark = current_call.set("a caller's")  # type: ignore[arg-type]  # any mark
        caller = read(cache, "A")
        current_call.reset(mark)
        await inventory.answer(0, row("A", 1, 1), revision=1)
        await caller
    assert seen == [None]


async def test_who_waits_when_the_cache_ends_is_told() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 1)
        under_way = [read(cache, "A", channel=f"c{number}") for number in range(availability.FETCHES_MAX)]
        await inventory.asked(availability.FETCHES_MAX)
        waiting = [read(cache, "A"), read(cache, "B", channel="c0")]
        await asyncio.sleep(0)
    for each in (*under_way, *waiting):
        with pytest.raises(Unavailable):
            await each


# Deltas against rows.

ROWS_AND_DELTAS = [
    # what is kept in the end, row, its answer's revision, deltas while it was fetched
    ((9, 3), row("A", 8, 5), 7, [delta("A", 3, 9)]),
    ((9, 3), row("A", 8, 5), 7, [delta("A", 6, 8), delta("A", 3, 9)]),
    ((9, 3), row("A", 3, 9), 9, [delta("A", 6, 8)]),
    ((9, 3), row("A", 3, 9), 9, [delta("A", 3, 9)]),
    ((5, 8), row("A", 8, 5), 7, [delta("B", 3, 9), delta("A", 2, 9, "app")]),
    ((9, 3), row("A", 0, 0), 7, [delta("A", 3, 9)]),
]


@pytest.mark.parametrize(("expected", "fetched", "revision", "deltas"), ROWS_AND_DELTAS)
async def test_of_a_row_and_the_deltas_of_the_meantime_the_newest_stays(
    expected: tuple[int, int], fetched: object, revision: int, deltas: list[StockDelta]
) -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.asked(1)
        await inventory.tell(cache, 9, *deltas)
        await inventory.answer(0, fetched, revision=revision)  # type: ignore[arg-type]  # a row
        assert shown(await caller) == [expected]
        assert kept(cache, "A") == expected


async def test_a_delta_is_taken_only_if_it_is_newer() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 3, 9), revision=9)
        await caller
        await inventory.tell(cache, 8, delta("A", 6, 8))
        assert kept(cache, "A") == (9, 3)
        await inventory.tell(cache, 10, delta("A", 2, 10), delta("B", 2, 10))
        assert (kept(cache, "A"), kept(cache, "B")) == ((10, 2), None)


async def test_what_was_in_memory_is_looked_at_again_once_the_rest_has_come() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 8, 5), revision=7)
        await caller
        both = read(cache, "A", "B")
        await inventory.asked(2)
        await inventory.tell(cache, 9, delta("A", 3, 9))
        await inventory.answer(1, row("B", 2, 6), revision=9)
        assert shown(await both) == [(9, 3), (6, 2)]


# Streams.


async def test_what_is_fetched_before_the_stream_begins_is_answered_and_not_kept() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        with pytest.raises(Unavailable):
            await cache.check()
        caller = read(cache, "A")
        await inventory.asked(1)
        await inventory.tell(cache, 9)
        await inventory.answer(0, row("A", 8, 5), revision=7)  # and what changed in 8 and 9 nobody will tell
        (entry,) = await caller
        assert isinstance(entry, Entry)
        assert (entry.sellable, entry.etag) == (8, "")
        assert kept(cache, "A") is None
        await cache.check()


async def test_a_stream_goes_on_by_its_token_and_what_is_in_memory_stays() -> None:
    inventory = Inventory()
    clock = Hand()
    cache = cache_of(inventory, clock=clock)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 8, 5), revision=7)
        await caller
        assert (cache.is_broken, cache.age_seconds) == (False, 0.0)
        inventory.end_stream(Unavailable("gone"))
        await until(lambda: cache.is_broken)
        clock.seconds += 42.5
        assert (cache.age_seconds, kept(cache, "A")) == (42.5, (5, 8))
        await cache.check()
        await inventory.tell(cache, 9, delta("A", 3, 9))
        assert (cache.is_broken, cache.age_seconds, kept(cache, "A")) == (False, 0.0, (9, 3))
    assert len(inventory.requests) == 1
    assert [token != "" for token in inventory.tokens] == [False, True]


async def test_a_goodbye_is_no_break() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        inventory.say_goodbye()
        await until(lambda: len(inventory.tokens) == 2)
        assert not cache.is_broken
        await inventory.tell(cache, 8)
    assert inventory.tokens[1] != ""


async def test_a_stream_that_says_nothing_for_too_long_counts_as_broken() -> None:
    clock = Hand()
    inventory = Inventory()
    cache = cache_of(inventory, clock=clock)
    async with running(cache):
        await inventory.tell(cache, 7)
        clock.seconds += availability.SILENT_SECONDS_MAX
        assert not cache.is_broken
        clock.seconds += 0.001
        assert cache.is_broken


async def test_the_stream_of_another_log_empties_the_memory_and_outdates_what_is_under_way() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 8, 5), revision=7)
        assert shown(await caller) == [(5, 8)]
        old = cache.find("A", "default")
        under_way = read(cache, "B")
        await inventory.asked(2)

        inventory.end_stream(Unavailable("gone"))
        inventory.end_stream(ResumeTokenForeign("the resume token comes from another log"))
        await until(lambda: len(inventory.tokens) == 3)
        inventory.log_id, inventory.covers_to = OTHER_LOG, 2
        await inventory.tell(cache, 2)
        assert kept(cache, "A") is None
        anew = read(cache, "B")  # not by the call of before
        await inventory.asked(3)
        await inventory.answer(1, row("B", 9, 7), revision=7)
        assert shown(await under_way) == [(7, 9)]
        joined = read(cache, "B")
        await inventory.answer(2, row("B", 1, 2), revision=2)
        assert [shown(await each) for each in (anew, joined)] == [[(2, 1)]] * 2
        assert (kept(cache, "B"), len(inventory.requests)) == ((2, 1), 3)

        again = read(cache, "A")
        await inventory.answer(3, row("A", 8, 5), revision=5)
        (new,) = await again
        assert old is not None
        assert isinstance(new, Entry)
        assert (old.etag, new.etag) == (f"{LOG[-12:]}-5-8", f"{OTHER_LOG[-12:]}-5-8")
    assert [token != "" for token in inventory.tokens] == [False, True, False]


async def test_a_snapshot_within_the_stream_empties_the_memory() -> None:
    """The log does not reach back to the token any more: what changed since then comes as rows, not as deltas."""
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 8, 5), revision=7)
        await caller
        inventory.begin_snapshot(20)
        await until(lambda: cache.position == 20)
        assert kept(cache, "A") is None
        again = read(cache, "A")
        await inventory.answer(1, row("A", 3, 15), revision=20)
        assert shown(await again) == [(15, 3)]
    assert inventory.requests[1].min_revision == 20


async def test_a_stream_that_leaves_something_out_empties_the_memory() -> None:
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache):
        await inventory.tell(cache, 7)
        caller = read(cache, "A")
        await inventory.answer(0, row("A", 8, 5), revision=7)
        await caller
        inventory.covers_to = 8
        inventory.say(9)
        await until(lambda: cache.position == 0)
        assert (kept(cache, "A"), cache.is_broken) == (None, True)
