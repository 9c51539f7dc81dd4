"""A request has its effect once: the same id, another body, another client, after a restart; and saga fences."""

from __future__ import annotations

import pytest

from meshkit.core.errors import RequestIdReused, StaleFence
from meshkit.log.model import Fence
from tests.meshkit.log.tally import Add, Bug, Database, Flood, Kernel, Nothing, command, outcomes, running


async def test_a_repeat_in_the_same_batch_has_the_first_answer(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        first, _, repeat = await kernel.submit_all(
            [command(Add("k"), "same"), command(Add("k"), "other"), command(Add("k"), "same")]
        )
    assert not isinstance(first, Exception)
    assert not isinstance(repeat, Exception)
    assert (first.reply, first.revision, first.repeated) == (b"1", 1, False)
    assert (repeat.reply, repeat.revision, repeat.repeated) == (b"1", 1, True)
    assert len(kernel.commits) == 1
    assert database.counts() == {"log_event": 2, "log_request": 2, "log_saga_fence": 0, "tally": 1}


async def test_a_repeat_in_a_later_batch_has_the_first_answer(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "same"))
        await kernel.submit(command(Add("k"), "other"))
        repeat = await kernel.submit(command(Add("k"), "same"))
    assert (repeat.reply, repeat.revision, repeat.repeated) == (b"1", 1, True)
    assert database.units() == 2


async def test_a_repeat_after_a_restart_has_the_first_answer(database: Database) -> None:
    before, after = Kernel(database.url), Kernel(database.url)
    async with running(before):
        await before.submit(command(Add("k", 5), "same"))
    async with running(after):
        repeat = await after.submit(command(Add("k", 5), "same"))
    assert (repeat.reply, repeat.revision, repeat.repeated) == (b"5", 1, True)
    assert database.units() == 5


async def test_a_repeat_at_another_process_has_the_first_answer(database: Database) -> None:
    one, other = Kernel(database.url), Kernel(database.url)
    async with running(one, other):
        await one.submit(command(Add("k", 5), "same"))
        repeat = await other.submit(command(Add("k", 5), "same"))
    assert (repeat.reply, repeat.revision, repeat.repeated) == (b"5", 1, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [  # the first request was Add("k", 5)
        (Add("k", 6), "units"),
        (Add("j", 5), "key"),
        (Add("j", 6), "key"),
        (Nothing(), "method"),
        (Flood("k", 1), "method"),
        (Bug(), "method"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_the_same_id_with_another_body_is_refused_and_names_the_field(
    database: Database, body: Add | Nothing | Flood | Bug, field: str, *, together: bool
) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        if together:
            _, refused = await kernel.submit_all([command(Add("k", 5), "same"), command(body, "same")])
        else:
            await kernel.submit(command(Add("k", 5), "same"))
            (refused,) = await kernel.submit_all([command(body, "same")])
    assert isinstance(refused, RequestIdReused)
    assert dict(refused.metadata) == {"request_id": "same", "field": field}
    assert refused.message == f"request id same was used before with another {field}"
    assert (database.units("k"), database.units("j"), database.head()[0]) == (5, 0, 1)


async def test_the_same_id_of_another_client_is_another_request(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        answers = await kernel.submit_all(
            [command(Add("k", 5), "same"), command(Add("k", 7), "same", client="client:two")]
        )
        repeat = await kernel.submit(command(Add("k", 7), "same", client="client:two"))
    assert outcomes(answers) == ["5", "12"]
    assert (repeat.reply, repeat.repeated) == (b"12", True)


async def test_a_refusal_is_decided_anew(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        refused = await kernel.submit_all([command(Add("k", -1), "same"), command(Add("k", -1), "same")])
        await kernel.submit(command(Add("k", 1), "stock"))
        answer = await kernel.submit(command(Add("k", -1), "same"))
    assert outcomes(refused) == ["NOT_ENOUGH", "NOT_ENOUGH"]
    assert (answer.reply, answer.repeated) == (b"0", False)


async def test_a_refused_id_may_come_again_with_another_body(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit_all([command(Add("k", -1), "same")])
        answer = await kernel.submit(command(Add("k", 3), "same"))
    assert answer.reply == b"3"


async def test_what_is_not_remembered_is_decided_every_time(database: Database) -> None:
    kernel = Kernel(database.url)
    again = [command(Add("k"), "same") for _ in range(3)]
    for each in again:
        each.remembered = False
    async with running(kernel):
        assert outcomes(await kernel.submit_all(again)) == ["1", "2", "3"]
    assert database.counts()["log_request"] == 0


def fence(number: int, saga: str = "saga-1") -> Fence:
    return Fence(saga, number)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("fences", "replies"),
    [
        ((1, 1), ["1", "2"]),
        ((1, 2), ["1", "2"]),
        ((2, 1), ["1", "STALE_FENCE"]),
        ((1, 3, 2, 3), ["1", "2", "STALE_FENCE", "3"]),
    ],
)
async def test_a_fence_below_the_highest_seen_is_refused(
    database: Database, fences: tuple[int, ...], replies: list[str], *, together: bool
) -> None:
    kernel = Kernel(database.url)
    commands = [command(Add("k"), f"r{index}", fence=fence(number)) for index, number in enumerate(fences)]
    async with running(kernel):
        if together:
            results = await kernel.submit_all(commands)
        else:
            results = [(await kernel.submit_all([each]))[0] for each in commands]
    assert outcomes(results) == replies
    assert database.rows("SELECT saga_id, fence FROM log_saga_fence") == [("saga-1", max(fences))]


async def test_a_stale_fence_says_whose_and_which(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "a", fence=fence(5)))
        (refused,) = await kernel.submit_all([command(Add("k"), "b", fence=fence(4))])
    assert isinstance(refused, StaleFence)
    assert dict(refused.metadata) == {"saga_id": "saga-1", "fence": "4", "seen": "5"}


async def test_an_undo_of_what_never_happened_bars_the_late_action(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        undo = await kernel.submit(command(Nothing(), "undo", fence=fence(2)))
        assert (undo.revision, database.head()[0]) == (0, 0)
        (late,) = await kernel.submit_all([command(Add("k"), "do", fence=fence(1))])
    assert isinstance(late, StaleFence)
    assert database.rows("SELECT saga_id, fence FROM log_saga_fence") == [("saga-1", 2)]


async def test_a_fence_holds_at_every_process_and_after_a_restart(database: Database) -> None:
    one, other = Kernel(database.url), Kernel(database.url)
    async with running(one):
        await one.submit(command(Nothing(), "undo", fence=fence(2)))
    async with running(other):
        assert outcomes(await other.submit_all([command(Add("k"), "do", fence=fence(1))])) == ["STALE_FENCE"]


async def test_fences_of_two_sagas_are_independent(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        answers = await kernel.submit_all(
            [command(Add("k"), "a", fence=fence(5)), command(Add("k"), "b", fence=fence(1, "saga-2"))]
        )
    assert outcomes(answers) == ["1", "2"]


async def test_a_refused_command_leaves_no_fence(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit_all([command(Add("k", -1), "a", fence=fence(5))])
        assert (await kernel.submit(command(Add("k"), "b", fence=fence(1)))).reply == b"1"


async def test_a_stale_owner_learns_the_answer_of_what_it_did_before(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "do", fence=fence(1)))
        await kernel.submit(command(Nothing(), "undo", fence=fence(2)))
        repeat = await kernel.submit(command(Add("k"), "do", fence=fence(1)))
    assert (repeat.reply, repeat.repeated) == (b"1", True)


async def test_a_repeat_with_a_higher_fence_is_the_same_request(database: Database) -> None:
    kernel = Kernel(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "do", fence=fence(1)))
        repeat = await kernel.submit(command(Add("k"), "do", fence=fence(2)))
    assert (repeat.reply, repeat.repeated) == (b"1", True)
    assert database.units() == 1
