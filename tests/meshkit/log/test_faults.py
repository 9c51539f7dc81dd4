"""What a writer survives: lost connections at every moment, servers that come and go, others that stand still."""

from __future__ import annotations

import asyncio
import os
import socket

import psycopg

from meshkit.log.metrics import RETRIES
from meshkit.log.model import Writer
from tests.faults.proxy import COMMITTED, wire_to
from tests.meshkit.log.tally import (
    Add,
    Database,
    Kernel,
    Tallies,
    TallyModel,
    adds,
    command,
    eventually,
    outcomes,
    running,
)
from tests.meshkit.log.test_order import problems_of
from tests.sizes import SIZES, seeded


async def assert_done_once(database: Database, commands: int, replies: list[str]) -> None:
    """Every command took effect once and its caller has its own answer; the log is whole."""
    assert sorted(map(int, replies)) == list(range(1, commands + 1))
    assert database.units() == commands
    assert database.head()[0] == commands
    assert database.counts()["log_request"] == commands
    assert await problems_of(database.url) == []


def kill_backends(database: Database) -> None:
    for pid in database.backends():
        database.rows("SELECT pg_terminate_backend(%s)", pid)


async def test_a_connection_that_broke_while_nothing_ran_costs_nobody_an_error(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "first"))
        kill_backends(database)
        await eventually(lambda: database.backends() == [])
        answer = await kernel.submit(command(Add("k"), "second"))
    assert answer.reply == b"2"


async def test_a_batch_whose_connection_broke_before_its_commit_is_done_again(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked():
            waiting = asyncio.create_task(kernel.submit_all(adds(20)))
            await eventually(database.waits_for_lock)
            database.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        answers = await waiting
    assert outcomes(answers) == [str(number) for number in range(1, 21)]
    await assert_done_once(database, 20, outcomes(answers))


async def test_a_socket_that_takes_little_at_a_time_does_not_stop_a_large_batch(database: Database) -> None:
    """Client and server once waited for each other: the one for answers, the other for what had not been sent yet."""
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "first"))
        connection = kernel._connection  # noqa: SLF001 — its socket is what the test is about
        assert connection is not None
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        answers = await kernel.submit_all(adds(900))
        assert kernel._connection is connection, "it took no second connection"  # noqa: SLF001 — likewise
    assert outcomes(answers) == [str(number) for number in range(2, 902)]


async def test_a_batch_whose_rows_never_arrived_is_done_again(database: Database) -> None:
    async with wire_to(database.url) as wire:
        kernel = Kernel(wire.url)
        async with running(kernel):
            wire.cut_before_question(b"INSERT INTO log_event")
            answers = await kernel.submit_all(adds(20))
    assert wire.cuts == 1
    await assert_done_once(database, 20, outcomes(answers))


async def test_a_commit_that_nobody_heard_of_is_not_done_twice(database: Database) -> None:
    async with wire_to(database.url) as wire:
        kernel = Kernel(wire.url)
        async with running(kernel):
            await kernel.submit(command(Add("other"), "warm-up"))
            wire.cut_before_answer(COMMITTED)
            answers = await kernel.submit_all(adds(20))
    assert wire.cuts == 1
    assert outcomes(answers) == [str(number) for number in range(1, 21)]
    assert [each.repeated for each in answers if not isinstance(each, Exception)] == [True] * 20
    assert (database.units(), database.head()[0], database.counts()["log_request"]) == (20, 21, 21)
    assert await problems_of(database.url) == []


async def test_connections_that_break_at_any_moment_lose_nothing_and_double_nothing(database: Database) -> None:
    random = seeded("connections break")
    kernels = [Kernel(database.url), Kernel(database.url)]
    replies: list[str] = []

    async def load(kernel: Kernel, round_number: int, name: str) -> None:
        # An unavailable answer says: send it again under the same id.
        waiting = adds(20, prefix=f"{name}-{round_number}-")
        while waiting:
            results = outcomes(await kernel.submit_all(waiting))
            replies.extend(result for result in results if result != "UNAVAILABLE")
            waiting = [each for each, result in zip(waiting, results, strict=True) if result == "UNAVAILABLE"]

    async with running(*kernels):
        for number in range(SIZES.commit_kills):
            async with asyncio.TaskGroup() as group:
                for name, kernel in zip("ab", kernels, strict=True):
                    group.create_task(load(kernel, number, name))
                await asyncio.sleep(random.random() * 0.02)  # the fault's own moment, not a wait for anything
                await asyncio.to_thread(kill_backends, database)
    await assert_done_once(database, SIZES.commit_kills * 40, replies)
    assert sum(kernel.numbers.registry.get_sample_value(RETRIES.name) or 0 for kernel in kernels) > 0


class Slow(TallyModel):
    """Writing takes longer the more keys there are: two of them longer than a transaction may."""

    async def save(self, connection: Writer, state: Tallies) -> None:
        await connection.execute("SELECT pg_sleep(%b::float8)", (1.2 * len(state.changed),))
        await super().save(connection, state)


async def test_a_batch_that_takes_longer_than_a_transaction_may_is_done_in_halves(database: Database) -> None:
    kernel = Kernel(database.url, model=Slow())
    async with running(kernel):
        answers = await kernel.submit_all([command(Add("a"), "a"), command(Add("b"), "b")])
    assert outcomes(answers) == ["1", "1"]
    assert [[event.request_id for event in commit] for commit in kernel.commits] == [["a"], ["b"]]


async def test_a_lock_holder_that_stands_still_stops_the_others_for_two_seconds_at_most(database: Database) -> None:
    kernel = Kernel(database.url)
    options = "-c idle_in_transaction_session_timeout=1s -c transaction_timeout=2s"  # as the writer's own connection
    async with running(kernel):
        await kernel.submit(command(Add("k"), "first"))
        with psycopg.connect(database.url, options=options) as paused:
            paused.execute("SELECT 1 FROM log_head FOR UPDATE")
            loop = asyncio.get_running_loop()
            started = loop.time()
            answer = await kernel.submit(command(Add("k"), "second"))
            waited_seconds = loop.time() - started
            paused.close()
    assert answer.reply == b"2"
    assert waited_seconds < 10  # else it would be for ever


async def test_the_writers_own_connection_cannot_hold_the_lock_for_long(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked():
            waiting = asyncio.create_task(kernel.submit(command(Add("k"), "a")))
            await eventually(database.waits_for_lock)
            # Its settings, read where they count: in its own session.
            settings = dict(
                database.rows(
                    "SELECT 'age', extract(epoch FROM clock_timestamp() - xact_start) < 2 FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
            )
            assert settings == {"age": True}
        await waiting
        connection = kernel._connection  # noqa: SLF001 — the one place where the session is
        assert connection is not None
        shown = [
            (await (await connection.execute(f"SHOW {name}".encode())).fetchone() or ("",))[0]
            for name in ("transaction_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
        ]
    assert shown == ["2s", "1s", "on"]


async def test_a_database_that_is_gone_answers_unavailable_and_recovers_without_a_restart(database: Database) -> None:
    async with wire_to(database.url) as wire:
        kernel = Kernel(wire.url)
        async with running(kernel):
            await kernel.submit(command(Add("k"), "a"))
            wire.refusing = True
            wire.cut()
            (gone,) = await kernel.submit_all([command(Add("k"), "b")])
            assert outcomes([gone]) == ["UNAVAILABLE"]
            assert getattr(gone, "retry_seconds", None) == 1.0
            wire.refusing = False
            assert (await kernel.submit(command(Add("k"), "b"))).reply == b"2"
    assert database.units() == 2


async def test_while_the_database_is_gone_nobody_waits_for_long(database: Database) -> None:
    async with wire_to(database.url) as wire:
        kernel = Kernel(wire.url)
        wire.refusing = True
        async with running(kernel):
            await kernel.submit_all(adds(1))
            before = kernel.numbers.registry.get_sample_value(RETRIES.name)
            assert outcomes(await kernel.submit_all(adds(1))) == ["UNAVAILABLE"]
            assert kernel.numbers.registry.get_sample_value(RETRIES.name) == before  # one attempt, no waits


async def test_a_batch_that_waited_too_long_for_the_lock_is_not_too_much(database: Database) -> None:
    """It is tried again as it is. In halves a thousand commands would wait a thousand times, two seconds each."""
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "first"))
        with database.head_locked():
            waiting = asyncio.create_task(kernel.submit_all(adds(20)))
            await eventually(database.waits_for_lock)
            (before,) = database.waiting_backends()
            await eventually(lambda: database.waiting_backends() not in ([], [before]))  # timed out, and came again
        await waiting
    assert [len(commit) for commit in kernel.commits] == [1, 20]
