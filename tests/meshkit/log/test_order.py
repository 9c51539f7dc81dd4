"""One order for everything: contiguous revisions, time that never falls, one chain of hashes, whoever writes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from meshkit.core.clock import ManualClock
from meshkit.db.engine import make_engine
from meshkit.log.model import EventRow
from meshkit.log.reader import read_events
from meshkit.log.verify import ChainCheck, Problem
from tests.meshkit.log.tally import Add, Database, Flood, Kernel, adds, command, eventually, running
from tests.sizes import SIZES, seeded

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def read_log(url: str) -> list[EventRow]:
    """All events."""
    engine = make_engine(url)
    try:
        return (await read_events(engine, 0, events_max=1_000_000)).events
    finally:
        await engine.dispose()


async def problems_of(url: str) -> list[Problem]:
    """What is wrong with the log."""
    return ChainCheck().take(await read_log(url))


async def test_two_processes_that_race_write_one_contiguous_log(database: Database) -> None:
    random = seeded("two processes race")
    kernels = [Kernel(database.url), Kernel(database.url)]
    commands = adds(SIZES.racing_commands)
    async with running(*kernels):
        answers = await asyncio.gather(*[random.choice(kernels).submit(each) for each in commands])
    events = await read_log(database.url)
    assert [event.revision for event in events] == list(range(1, len(commands) + 1))
    assert sorted(int(answer.reply) for answer in answers) == list(range(1, len(commands) + 1))
    assert all(earlier.record_time <= later.record_time for earlier, later in pairwise(events))
    assert ChainCheck().take(events) == []
    assert database.units() == len(commands)
    assert all(kernel.commits for kernel in kernels), "one process did all the work: no race"


async def test_a_batch_sees_what_was_committed_while_it_waited_for_its_turn(database: Database) -> None:
    """The lock on the head comes before everything that is read."""
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked() as other:
            waiting = asyncio.create_task(kernel.submit(command(Add("k"), "a")))
            await eventually(database.waits_for_lock)
            other.execute("INSERT INTO tally VALUES ('k', 100)")
            other.commit()
        assert (await waiting).reply == b"101"


async def test_a_process_hands_its_events_over_in_order_and_whole(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await asyncio.gather(*[kernel.submit(each) for each in adds(200)])
    handed = [event for commit in kernel.commits for event in commit]
    assert handed == await read_log(database.url)


async def test_time_does_not_fall_when_the_clock_does(database: Database) -> None:
    clock = ManualClock(T0)
    kernel = Kernel(database.url, clock=clock)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "a"))
        clock.advance(timedelta(hours=-1))
        await kernel.submit(command(Add("k"), "b"))
        clock.advance(timedelta(hours=2))
        await kernel.submit(command(Add("k"), "c"))
    times = [event.record_time for event in await read_log(database.url)]
    assert times == [T0, T0, T0 + timedelta(hours=1)]
    assert database.head() == (3, T0 + timedelta(hours=1))


async def test_the_process_whose_clock_is_ahead_sets_the_time_of_all(database: Database) -> None:
    behind = Kernel(database.url, clock=ManualClock(T0))
    ahead = Kernel(database.url, clock=ManualClock(T0 + timedelta(days=1)))
    async with running(behind, ahead):
        await ahead.submit(command(Add("k"), "a"))
        await behind.submit(command(Add("k"), "b"))
    assert [event.record_time for event in await read_log(database.url)] == [T0 + timedelta(days=1)] * 2


async def test_an_event_says_who_did_it_and_when(database: Database) -> None:
    kernel = Kernel(database.url, clock=ManualClock(T0))
    happened = T0 - timedelta(hours=3)
    asked = command(Add("k", 4), "a")
    asked.occur_time = happened
    async with running(kernel):
        await kernel.submit(asked)
    (event,) = await read_log(database.url)
    assert event == EventRow(
        revision=1,
        index=0,
        kind="tallied",
        key="k",
        payload=b"k+4",
        deltas=(4,),
        balances=(4,),
        principal="user:ann",
        client_id="client:one",
        channel="",
        reference="",
        request_id="a",
        traceparent="",
        occur_time=happened,
        record_time=T0,
        # SHA-256(SHA-256('') ‖ 'k+4'), by another program than the one under test
        hash=bytes.fromhex(database.rows("SELECT encode(sha256(sha256('') || 'k+4'::bytea), 'hex')")[0][0]),
    )


async def test_the_events_of_one_command_share_its_revision_and_one_hash(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Flood("k", 3), "a"))
    events = await read_log(database.url)
    assert [(event.revision, event.index, event.hash is not None) for event in events] == [
        (1, 0, True),
        (1, 1, False),
        (1, 2, False),
    ]
    assert ChainCheck().take(events) == []
    assert database.rows("SELECT hash FROM log_head") == [(events[0].hash,)]


async def test_a_command_may_make_twenty_thousand_events(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Flood("k", 20_000), "a"))
    assert database.counts()["log_event"] == 20_000
    assert await problems_of(database.url) == []


async def test_two_logs_have_two_identities(database: Database) -> None:
    ((log_id, fingerprint_key),) = database.rows("SELECT log_id::text, fingerprint_key FROM log_head")
    assert len(log_id) == 36
    assert len(fingerprint_key) == 32
