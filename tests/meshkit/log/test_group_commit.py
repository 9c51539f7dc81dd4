"""How commands share batches, and what a batch does when one of its commands cannot be done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

import pytest

from meshkit.core.errors import InternalError, TooManyRequests
from meshkit.log.limits import Limits
from meshkit.log.metrics import BATCH
from meshkit.log.model import Command
from tests.meshkit.log.tally import (
    Add,
    Body,
    Bug,
    Database,
    Flood,
    Kernel,
    Nothing,
    Tallies,
    TallyModel,
    adds,
    command,
    eventually,
    outcomes,
    running,
)


async def test_commands_that_wait_together_share_one_commit(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        answers = await kernel.submit_all(adds(300))
    assert [len(commit) for commit in kernel.commits] == [300]
    assert outcomes(answers) == [str(number) for number in range(1, 301)]
    assert database.units() == 300


async def test_commands_that_come_while_a_batch_commits_are_the_next_batch(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked():
            first = asyncio.create_task(kernel.submit(command(Add("k"), "first")))
            await eventually(database.waits_for_lock)
            rest = asyncio.create_task(kernel.submit_all(adds(50)))
            await asyncio.sleep(0)
        await asyncio.gather(first, rest)
    assert [len(commit) for commit in kernel.commits] == [1, 50]


async def test_each_command_sees_the_effects_of_those_before_it(database: Database) -> None:
    kernel = Kernel(database.url)
    bodies = [Add("k", -1), Add("k", 2), Add("k", -1), Add("k", -1), Add("k", -1)]
    async with running(kernel):
        answers = await kernel.submit_all([command(body, f"r{number}") for number, body in enumerate(bodies)])
    assert outcomes(answers) == ["NOT_ENOUGH", "2", "1", "0", "NOT_ENOUGH"]
    assert [event.revision for commit in kernel.commits for event in commit] == [1, 2, 3]


async def test_a_batch_ends_at_its_limit_of_commands(database: Database) -> None:
    kernel = Kernel(database.url, limits=Limits(batch_commands_max=7, decide_seconds_max=10.0))
    async with running(kernel):
        await kernel.submit_all(adds(20))
    assert [len(commit) for commit in kernel.commits] == [7, 7, 6]


async def test_a_batch_ends_at_its_limit_of_weight_but_takes_at_least_one_command(database: Database) -> None:
    kernel = Kernel(database.url, limits=Limits(batch_weight_max=10, decide_seconds_max=10.0))
    commands = adds(5)
    for each, weight in zip(commands, (25, 4, 6, 1, 9), strict=True):
        each.weight = weight
    async with running(kernel):
        await kernel.submit_all(commands)
    assert [[event.request_id for event in commit] for commit in kernel.commits] == [["r0"], ["r1", "r2"], ["r3", "r4"]]


class Overdue(TallyModel):
    """Time has given more than one batch can take, for some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def lapsed(self, state: Tallies, now: datetime) -> Iterable[Command[Body]]:
        return [command(Add("lapsed"), f"lapsed {self.left}")] if self.left else []

    def overdue(self, state: Tallies, now: datetime) -> bool:
        self.left -= bool(self.left)
        return self.left > 0


async def test_commands_wait_until_what_has_lapsed_before_them_is_done(database: Database) -> None:
    kernel = Kernel(database.url, model=Overdue(3))
    async with running(kernel):
        answers = await kernel.submit_all(adds(2))
    assert outcomes(answers) == ["1", "2"]
    assert [[event.request_id for event in commit] for commit in kernel.commits] == [
        ["lapsed 3"], ["lapsed 2"], ["lapsed 1", "r0", "r1"],
    ]  # fmt: skip


async def test_a_batch_ends_at_its_time_and_the_rest_keeps_its_order(database: Database) -> None:
    kernel = Kernel(database.url, limits=Limits(decide_seconds_max=0.0))
    async with running(kernel):
        answers = await kernel.submit_all(adds(5))
    assert [len(commit) for commit in kernel.commits] == [1, 1, 1, 1, 1]
    assert outcomes(answers) == ["1", "2", "3", "4", "5"]


async def test_a_batch_of_refusals_writes_nothing(database: Database) -> None:
    kernel = Kernel(database.url)
    before = database.rows("SELECT *, xmin FROM log_head")
    async with running(kernel):
        answers = await kernel.submit_all([command(Add("k", -1), f"r{number}") for number in range(10)])
    assert outcomes(answers) == ["NOT_ENOUGH"] * 10
    assert database.rows("SELECT *, xmin FROM log_head") == before
    assert set(database.counts().values()) == {0}


async def test_a_command_without_events_takes_no_revision(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "a"))
        answer = await kernel.submit(command(Nothing(), "b"))
    assert (answer.revision, answer.repeated) == (1, False)
    assert database.counts() == {"log_event": 1, "log_request": 1, "log_saga_fence": 0, "tally": 1}


POISONS = {
    "a bug in a rule": command(Bug(), "poison"),
    "a broken constraint": command(Add("poison", 1000), "poison"),
    "a string that the database cannot take": command(Add("poison\0"), "poison"),
    "an id that the database cannot take": command(Add("poison"), "poison\0"),
    "more events than a revision may have": command(Flood("poison", 20_001), "poison"),
    "an integer that the database cannot take": command(Add("poison", 2**63), "poison"),
}


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("position", [0, 25, 50])
async def test_a_poison_command_fails_alone(database: Database, poison: str, position: int) -> None:
    kernel = Kernel(database.url)
    commands = adds(50)
    commands.insert(position, POISONS[poison])
    async with running(kernel):
        answers = await kernel.submit_all(commands)
        after = await kernel.submit(command(Add("k"), "after"))
    failed = answers.pop(position)
    assert isinstance(failed, InternalError)
    # Halves may overtake each other, so the replies are the numbers 1 to 50 in any order.
    assert sorted(map(int, outcomes(answers))) == list(range(1, 51))
    assert (after.reply, database.units(), database.units("poison")) == (b"51", 51, 0)
    assert [row[0] for row in database.rows("SELECT revision FROM log_event ORDER BY 1")] == list(range(1, 52))


async def test_three_poison_commands_fail_alone(database: Database) -> None:
    kernel = Kernel(database.url)
    commands = adds(50)
    for position in (3, 4, 40):
        commands[position] = command(Bug(), f"poison{position}")
    async with running(kernel):
        answers = await kernel.submit_all(commands)
    assert [number for number, each in enumerate(answers) if isinstance(each, InternalError)] == [3, 4, 40]
    assert database.units() == 47


async def test_a_poison_command_leaves_nothing_that_its_repeat_would_find(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit_all([command(Add("p", 1000), "p")])
        answer = await kernel.submit(command(Add("p", 999), "p"))
    assert (answer.reply, answer.repeated) == (b"999", False)


async def test_a_command_whose_deadline_passed_while_it_waited_is_not_executed(database: Database) -> None:
    kernel = Kernel(database.url)
    deadline = asyncio.get_running_loop().time() + 0.05
    async with running(kernel):
        with database.head_locked():
            first = asyncio.create_task(kernel.submit(command(Add("k"), "first")))
            await eventually(database.waits_for_lock)
            late = asyncio.create_task(kernel.submit_all([command(Add("k"), "late", deadline=deadline)]))
            await asyncio.sleep(deadline - asyncio.get_running_loop().time() + 0.001)  # the deadline itself is the rule
        await first
        assert outcomes(await late) == ["DEADLINE_EXCEEDED"]
    assert database.units() == 1
    assert kernel.model.decided == [Add("k")]


async def test_a_full_queue_refuses_and_says_when_to_come_again(database: Database) -> None:
    kernel = Kernel(database.url, limits=Limits(queue_commands_max=3))
    waiting = [asyncio.create_task(kernel.submit(each)) for each in adds(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await kernel.submit(command(Add("k"), "fourth"))
    assert refused.value.retry_seconds == 0.25
    async with running(kernel):
        await asyncio.gather(*waiting)
        assert (await kernel.submit(command(Add("k"), "fourth"))).reply == b"4"


async def test_commands_that_do_not_all_fit_in_the_queue_are_refused_together(database: Database) -> None:
    kernel = Kernel(database.url, limits=Limits(queue_commands_max=3))
    with pytest.raises(TooManyRequests):
        await kernel.submit_all(adds(4))
    async with running(kernel):
        await kernel.submit_all(adds(3))
    assert database.units() == 3


async def test_a_caller_that_is_cancelled_while_it_waits_leaves_nothing(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked():
            first = asyncio.create_task(kernel.submit(command(Add("k"), "first")))
            await eventually(database.waits_for_lock)
            second = asyncio.create_task(kernel.submit(command(Add("k"), "second")))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
        await first
        await kernel.submit(command(Nothing(), "done"))
    assert database.units() == 1


async def test_a_caller_that_is_cancelled_while_its_batch_commits_disturbs_nobody(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        with database.head_locked():
            tasks = [asyncio.create_task(kernel.submit(each)) for each in adds(10)]
            await eventually(database.waits_for_lock)
            tasks[4].cancel()
            await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers.pop(4), asyncio.CancelledError)
        assert [each.reply for each in answers if not isinstance(each, BaseException)] == [
            str(number).encode() for number in (1, 2, 3, 4, 6, 7, 8, 9, 10)
        ]
        repeat = await kernel.submit(command(Add("k"), "r4"))
    assert (repeat.reply, repeat.revision, repeat.repeated) == (b"5", 5, True)
    assert database.units() == 10


async def test_a_feed_that_fails_does_not_repeat_what_was_committed(database: Database) -> None:
    kernel = Kernel(database.url)
    committed = kernel._on_commit  # noqa: SLF001 — the seam between kernel and feed

    def fail_once(*arguments: object) -> None:
        kernel._on_commit = committed  # noqa: SLF001 — see above
        raise OSError("a bug of the feed")

    kernel._on_commit = fail_once  # noqa: SLF001 — see above
    async with running(kernel):
        answers = await kernel.submit_all(adds(3))
    assert outcomes(answers) == ["1", "2", "3"]
    assert database.units() == 3


async def test_closing_answers_everybody(database: Database) -> None:
    kernel = Kernel(database.url)
    with database.head_locked():
        async with running(kernel):
            first = asyncio.create_task(kernel.submit_all(adds(2, prefix="a")))
            await eventually(database.waits_for_lock)
            rest = asyncio.create_task(kernel.submit_all(adds(2, prefix="b")))
            await asyncio.sleep(0)
    assert outcomes(await first) + outcomes(await rest) == ["UNAVAILABLE"] * 4
    await eventually(lambda: database.backends() == [])
    assert database.units() == 0


async def test_draining_answers_what_waits_and_takes_nothing_more(database: Database) -> None:
    kernel = Kernel(database.url)
    waiting = asyncio.create_task(kernel.submit_all(adds(30)))
    await asyncio.sleep(0)
    draining = asyncio.create_task(kernel.drain())
    await asyncio.sleep(0)
    with pytest.raises(Exception, match="shutting down"):
        await kernel.submit(command(Add("k"), "late"))
    async with running(kernel):
        await draining
        assert outcomes(await waiting) == [str(number) for number in range(1, 31)]


async def test_the_size_of_batches_is_measured(database: Database) -> None:
    kernel = Kernel(database.url, model=TallyModel())
    async with running(kernel):
        await kernel.submit_all(adds(40))
    sums = [sample.value for metric in kernel.numbers.histogram(BATCH).collect() for sample in metric.samples
            if sample.name.endswith(("_sum", "_count"))]  # fmt: skip
    assert sorted(sums) == [1.0, 40.0]
