from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from dataclasses import replace

import psycopg
import pytest

from beautymesh.common.v1.watch_pb2 import GOODBYE_REASON_DRAINING, GOODBYE_REASON_MAX_AGE
from beautymesh.inventory.v1.watch_pb2 import WatchStockResponse
from meshkit.core.errors import ResumeTokenForeign, ResumeTokenInvalid, RevisionNotYetVisible, Unavailable
from meshkit.db.engine import make_engine
from meshkit.feed.feed import Feed
from meshkit.feed.hints import NoHints
from meshkit.feed.token import ResumeToken
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.meshkit.feed.client import Client, whole_log
from tests.meshkit.feed.guarantees import violations
from tests.meshkit.feed.tally import ALL, SMALL, Keys, Process, TallyStream, process

NEVER_POLLS = replace(SMALL, poll_seconds=60.0)


async def settled(*processes: Process) -> None:
    """Until every stream has said all it has to say."""
    async with asyncio.timeout(5):
        while any(each.feed.lag_revisions for each in processes):  # noqa: ASYNC110 — seen as an operator sees it
            await asyncio.sleep(0.005)


def metric(process: Process, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", process.metrics.expose().decode(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def test_a_new_stream_begins_with_a_snapshot_and_goes_on_with_deltas(tally_url: str) -> None:
    client = Client()
    async with process(tally_url) as one:
        await one.change(("a", 1), ("b", 2))
        await client.follow(one, stop=lambda client: len(client.messages) == 2)
        await client.follow_to(one, await one.change(("a", 4)))
    assert client.bodies() == ["snapshot", "snapshot_complete", "deltas"]
    assert [(row.sku, row.sellable, row.revision) for row in client.messages[0].snapshot.sellable] == [
        ("a", 1, 1),
        ("b", 2, 1),
    ]
    assert client.messages[1].snapshot_complete.revision == 1
    delta = client.messages[2].deltas.deltas[0]
    assert (delta.revision, delta.sellable.sku, delta.sellable.before, delta.sellable.after) == (2, "a", 1, 5)
    assert [(each.position.covers_from, each.position.covers_to) for each in client.messages] == [
        (0, 1),
        (1, 1),
        (1, 2),
    ]


async def test_a_stream_of_an_empty_state_has_a_snapshot_without_rows(tally_url: str) -> None:
    client = Client()
    async with process(tally_url) as one:
        await client.follow(one, stop=lambda client: len(client.messages) == 2)
    assert client.bodies() == ["snapshot", "snapshot_complete"]


async def test_a_stream_without_a_snapshot_has_a_token_at_once(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one:
        revision = await one.change(("a", 1))
        await settled(one)
        await client.follow(one, stop=lambda _: True)
    assert client.bodies() == ["progress"]
    assert ResumeToken.decode(client.messages[0].position.resume_token).revision == revision


async def test_an_interrupted_snapshot_goes_on_where_it_was(tally_url: str) -> None:
    client = Client()
    async with process(tally_url) as one, process(tally_url) as other:
        for number in range(20):
            await one.change((f"k{number:02}", 1))
        for pages in (1, 2):  # each page at another process, with a change in between
            await client.follow(other if pages % 2 else one, stop=lambda client, n=pages: len(client.messages) == n)  # type: ignore[misc]
            await one.change(("k00", 1), ("k19", 1))
        await client.follow_to(one, 22)
        log = await whole_log(one)
    assert client.bodies() == ["snapshot", "snapshot", "snapshot", "snapshot_complete", "deltas"]
    assert [len(message.snapshot.sellable) for message in client.messages[:3]] == [7, 7, 6]
    assert [message.position.covers_to for message in client.messages] == [20, 20, 20, 20, 22]
    assert client.messages[3].snapshot_complete.revision == 22
    assert violations(client.trace(log)) == {}


async def test_a_chunk_is_encoded_once_and_is_the_same_object_for_all(tally_url: str) -> None:
    async with process(tally_url) as one:
        clients = [Client(with_snapshot=False) for _ in range(5)]
        filtered = [Client(Keys(frozenset({"a"})), with_snapshot=False) for _ in range(5)]
        streams = [asyncio.create_task(client.follow_to(one, 1)) for client in clients + filtered]
        await asyncio.sleep(0.02)
        await one.change(("a", 1), ("b", 1))
        await asyncio.gather(*streams)
    assert {id(client.sent[-1]) for client in clients} == {id(clients[0].sent[-1])}
    assert {id(client.sent[-1]) for client in filtered} == {id(filtered[0].sent[-1])}
    assert sorted(one.stream.encoded) == [1, 2]


async def test_a_chunk_that_nobody_reads_is_not_encoded(tally_url: str) -> None:
    async with process(tally_url) as one:
        await one.change(("a", 1))
        await settled(one)
    assert one.stream.encoded == []


async def test_a_reader_that_is_behind_gets_the_chunks_that_wait_in_one_message(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one:
        async with aclosing(one.feed.subscribe(ALL, with_snapshot=False)) as stream:
            await anext(stream)
            for _ in range(20):
                await one.change(("a", 1))
                await settled(one)
            client.messages.append(WatchStockResponse.FromString(await anext(stream)))
        log = await whole_log(one)
    assert [delta.revision for delta in client.messages[0].deltas.deltas] == list(range(1, 21))
    assert not client.messages[0].deltas.conflated
    assert violations(client.trace(log)) == {}


async def test_a_reader_below_the_window_gets_one_delta_for_each_changed_key(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url, bounds=replace(SMALL, page_events_max=500)) as one:
        await one.change(("a", 100))
        await settled(one)
        await client.follow(one, stop=lambda _: True)
        for number in range(100):
            await one.change(("a", 1), (f"k{number % 3}", 1))
        await settled(one)
        await client.follow_to(one, 101)
        log = await whole_log(one)
    assert client.bodies() == ["progress", "deltas"]
    message = client.messages[1]
    assert (message.position.covers_from, message.position.covers_to) == (1, 101)
    assert message.deltas.conflated
    assert [
        (delta.sellable.sku, delta.sellable.before, delta.sellable.after, delta.revision)
        for delta in message.deltas.deltas
    ] == [("k1", 0, 33, 99), ("k2", 0, 33, 100), ("a", 100, 200, 101), ("k0", 0, 34, 101)]
    assert violations(client.trace(log)) == {}


async def test_a_reader_below_the_window_may_ask_for_every_revision(tally_url: str) -> None:
    client = Client(with_snapshot=False, every_revision=True)
    async with process(tally_url) as one:
        await client.follow(one, stop=lambda _: True)
        for _ in range(100):
            await one.change(("a", 1), ("b", 1))
        await settled(one)
        await client.follow_to(one, 100)
        log = await whole_log(one)
    deltas = [delta.revision for message in client.messages for delta in message.deltas.deltas]
    assert deltas == sorted([*range(1, 101), *range(1, 101)])
    assert violations(client.trace(log)) == {}


async def test_the_window_is_bounded_whatever_the_readers_do(tally_url: str) -> None:
    async with process(tally_url) as one, aclosing(one.feed.subscribe(ALL, with_snapshot=False)) as stream:
        await anext(stream)  # and never again
        for _ in range(100):
            await one.change(("a", 1), ("b", 1), ("c", 1))
        await settled(one)
        assert 50 < metric(one, "feed_window_events") <= 60  # whole chunks of at most 10 events and one revision
        assert metric(one, 'feed_subscribers{state="catching_up"}') == 1


async def test_a_stream_below_the_retained_log_gets_the_state_anew(tally_url: str) -> None:
    client = Client()
    async with process(tally_url) as one:
        for number in range(10):
            await one.change((f"k{number}", 1))
        await client.follow_to(one, 10)
        for number in range(90):
            await one.change((f"k{number % 9}", 1))
        await settled(one)
        log = await whole_log(one)
        async with await psycopg.AsyncConnection.connect(tally_url, autocommit=True) as connection:
            await connection.execute("DELETE FROM log_event WHERE revision <= 50")
        already = len(client.messages)
        await client.follow_to(one, 100)
    assert client.bodies()[already:] == ["snapshot", "snapshot", "snapshot_complete"]
    assert [(each.position.covers_from, each.position.covers_to) for each in client.messages[already:]] == [
        (10, 100),
        (100, 100),
        (100, 100),
    ]
    assert violations(client.trace(log)) == {}


async def test_a_filtered_stream_says_how_far_it_is_without_a_delta(tally_url: str) -> None:
    client = Client(Keys(frozenset({"wanted"})), with_snapshot=False)
    async with process(tally_url) as one:
        following = asyncio.create_task(client.follow_to(one, 30))
        for _ in range(30):
            await one.change(("other", 1))
        await following
    assert set(client.bodies()) == {"progress"}
    assert client.covers_to == 30


async def test_an_idle_stream_has_a_heartbeat(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url, bounds=replace(SMALL, heartbeat_seconds=0.05)) as one:
        await client.follow(one, stop=lambda client: len(client.messages) == 3)
    assert [(each.position.covers_from, each.position.covers_to) for each in client.messages] == [(0, 0)] * 3


async def test_the_other_process_follows_by_polling(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one, process(tally_url) as other:
        following = asyncio.create_task(client.follow_to(other, 1))
        await asyncio.sleep(0.01)
        await one.change(("a", 1))
        await following
    assert client.bodies() == ["progress", "deltas"]


async def test_commits_of_two_processes_interleave_into_one_order(tally_url: str) -> None:
    clients = Client(with_snapshot=False), Client(with_snapshot=False)
    async with process(tally_url) as one, process(tally_url) as other:
        following = [
            asyncio.create_task(client.follow_to(each, 40)) for client, each in zip(clients, (one, other), strict=True)
        ]
        await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.gather(one.change(("a", 1)), other.change(("a", 1)))
        await asyncio.gather(*following)
        log = await whole_log(one)
    assert [violations(client.trace(log)) for client in clients] == [{}, {}]


async def test_a_feed_that_is_far_behind_skips_what_the_window_could_not_hold(tally_url: str) -> None:
    client = Client(with_snapshot=False, every_revision=True)
    async with process(tally_url) as one, process(tally_url, bounds=NEVER_POLLS) as other:
        following = asyncio.create_task(client.follow_to(other, 100))
        await asyncio.sleep(0.01)
        for _ in range(100):
            await one.change(("a", 1))
        await other.feed.wait_for(100, None)
        assert metric(other, "feed_window_events") == 0
        await following
        log = await whole_log(one)
    assert violations(client.trace(log)) == {}


async def test_a_read_waits_until_its_revision_is_visible(tally_url: str) -> None:
    async with process(tally_url) as one, process(tally_url, bounds=NEVER_POLLS) as other:
        revision = await one.change(("a", 1))
        assert other.feed.position == 0
        await other.feed.wait_for(revision, None)
        assert other.feed.position == revision


@pytest.mark.bound(seconds=0.2)
async def test_a_read_of_a_revision_that_does_not_come_is_refused_before_its_deadline(tally_url: str) -> None:
    loop = asyncio.get_running_loop()
    async with process(tally_url) as one:
        deadline = loop.time() + 3
        with pytest.raises(RevisionNotYetVisible) as refusal:
            await one.feed.wait_for(7, deadline)
        assert loop.time() < deadline
    assert refusal.value.metadata == {"revision": "7", "visible": "0"}


async def test_draining_ends_streams_with_a_goodbye_and_their_token(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one, process(tally_url) as other:
        following = asyncio.create_task(client.follow(one, stop=lambda _: False))
        await one.change(("a", 1))
        async with asyncio.timeout(5):
            while client.covers_to < 1:  # noqa: ASYNC110 — the client only keeps what it saw
                await asyncio.sleep(0.001)
        await one.feed.drain()
        await following
        assert client.messages[-1].goodbye.reason == GOODBYE_REASON_DRAINING
        with pytest.raises(Unavailable):
            await anext(one.feed.subscribe(ALL))
        await other.change(("a", 1))
        await client.follow_to(other, 2)
        log = await whole_log(other)
    assert client.bodies() == ["progress", "deltas", "goodbye", "deltas"]
    assert violations(client.trace(log)) == {}


async def test_a_stream_ends_at_its_maximum_age(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url, bounds=replace(SMALL, stream_seconds_max=0.05)) as one:
        await client.follow(one, stop=lambda _: False)
    assert client.bodies() == ["progress", "goodbye"]
    assert client.messages[-1].goodbye.reason == GOODBYE_REASON_MAX_AGE


async def test_a_token_of_another_log_is_refused(tally_url: str) -> None:
    token = ResumeToken("0190a000-0000-7000-8000-000000000000", 0).encode()
    async with process(tally_url) as one:
        with pytest.raises(ResumeTokenForeign):
            await anext(one.feed.subscribe(ALL, resume_token=token))


async def test_a_token_from_beyond_the_head_is_refused(tally_url: str) -> None:
    async with process(tally_url) as one:
        await one.change(("a", 1))
        log_id = await _log_id(one)
        with pytest.raises(ResumeTokenForeign) as refusal:
            await anext(one.feed.subscribe(ALL, resume_token=ResumeToken(log_id, 2).encode()))
    assert refusal.value.metadata == {"revision": "2", "head": "1"}


async def test_a_token_from_a_process_that_is_ahead_is_taken(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one, process(tally_url, bounds=NEVER_POLLS) as other:
        await client.follow_to(one, await one.change(("a", 1)))
        assert other.feed.position == 0
        following = asyncio.create_task(client.follow_to(other, 2))
        await asyncio.sleep(0.02)
        await one.change(("a", 1))
        await other.feed.wait_for(2, None)
        await following
        log = await whole_log(one)
    assert violations(client.trace(log)) == {}


async def test_a_token_of_another_filter_is_refused(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one:
        await client.follow(one, stop=lambda _: True)
        token = client.messages[0].position.resume_token
        with pytest.raises(ResumeTokenInvalid):
            await anext(one.feed.subscribe(Keys(frozenset({"a"})), resume_token=token))


async def test_a_log_that_is_replaced_under_the_feed_ends_its_streams(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one:
        await one.change(("a", 1))
        await settled(one)
        following = asyncio.create_task(client.follow(one, stop=lambda _: False))
        await asyncio.sleep(0.02)
        async with await psycopg.AsyncConnection.connect(tally_url, autocommit=True) as connection:
            await connection.execute("UPDATE log_head SET log_id = gen_random_uuid()")
        with pytest.raises(Unavailable):
            await following
        with pytest.raises(ResumeTokenForeign):
            await anext(one.feed.subscribe(ALL, resume_token=client.messages[0].position.resume_token))


async def test_lost_connections_cost_a_synced_stream_nothing(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one, process(tally_url) as other:
        following = asyncio.create_task(client.follow_to(other, 20))
        for number in range(20):
            if number == 10:
                async with await psycopg.AsyncConnection.connect(tally_url, autocommit=True) as connection:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE usename = current_user AND pid <> pg_backend_pid()"
                    )
            await one.change(("a", 1))
        await following
        log = await whole_log(one)
    assert violations(client.trace(log)) == {}


async def test_a_cancelled_stream_is_forgotten(tally_url: str) -> None:
    client = Client(with_snapshot=False)
    async with process(tally_url) as one:
        following = asyncio.create_task(client.follow(one, stop=lambda _: False))
        await asyncio.sleep(0.02)
        assert metric(one, 'feed_subscribers{state="synced"}') == 1
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        assert metric(one, 'feed_subscribers{state="synced"}') == 0


async def test_a_feed_is_alive_only_once_it_has_seen_the_head(tally_url: str) -> None:
    engine = make_engine(tally_url)
    feed = Feed(TallyStream(engine), engine=engine, hints=NoHints(), bounds=SMALL, metrics=Metrics(), tracing=Tracing())
    with pytest.raises(Unavailable):
        await feed.check()
    await engine.dispose()
    async with process(tally_url) as one:
        await one.feed.check()


async def _log_id(process: Process) -> str:
    client = Client(with_snapshot=False)
    await client.follow(process, stop=lambda _: True)
    return ResumeToken.decode(client.messages[0].position.resume_token).log_id
