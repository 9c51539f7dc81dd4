"""Purchases through the real log: exact under concurrency, once under repeats, fenced in sagas."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import ManualClock, SystemClock
from meshkit.core.errors import MeshError
from meshkit.log.model import Answer, Fence
from profile_svc.domain.profiles import UpsertProfile
from tests.meshkit.log.tally import running
from tests.profile.people import HOUR, LINES, T0, People, PeopleDatabase, buy, command, problems_of


async def test_everything_of_a_purchase_is_written(people: People, database: PeopleDatabase) -> None:
    await people.do(UpsertProfile("ann", ("vegan", "gold")), buy(purchase_id="p", occur_time=T0 - HOUR))
    assert database.rows("SELECT profile_id, tags, order_count, create_time, revision FROM profile") == [
        ("ann", ["gold", "vegan"], 1, T0, 2)
    ]
    assert database.rows(
        "SELECT purchase_id, profile_id, order_reference, channel, total_minor, currency, line_count, occur_time, "
        "record_time, revision FROM purchase"
    ) == [("p", "ann", "order-1", "default", 2_999, "EUR", 2, T0 - HOUR, T0, 2)]
    assert database.rows(
        "SELECT purchase_id, position, sku, quantity, total_minor FROM purchase_line ORDER BY position"
    ) == [("p", 0, "LIP-RED", 2, 2_400), ("p", 1, "MASCARA", 1, None)]


async def test_the_log_counts_orders_under_the_profiles_key(people: People) -> None:
    await people.do(UpsertProfile("ann", ("gold",)), buy(occur_time=T0 - HOUR), buy("bea", channel="store"))
    assert [(row.revision, row.kind, row.key, row.deltas, row.balances, row.channel) for row in people.events] == [
        (1, "profile_upserted", "profile\x1fann", (0,), (0,), ""),
        (2, "purchase_recorded", "profile\x1fann", (1,), (1,), "default"),
        (3, "profile_upserted", "profile\x1fbea", (0,), (0,), ""),
        (3, "purchase_recorded", "profile\x1fbea", (1,), (1,), "store"),
    ]
    assert [(row.occur_time, row.record_time) for row in people.events] == [
        (T0, T0), (T0 - HOUR, T0), (T0, T0), (T0, T0),
    ]  # fmt: skip


async def test_equal_tags_write_nothing(people: People, database: PeopleDatabase) -> None:
    await people.do(UpsertProfile("ann", ("gold", "vegan")))
    before = database.head()
    (answer,) = await people.do(UpsertProfile("ann", ("vegan", "gold")))
    assert isinstance(answer, Answer)
    assert (database.head(), len(people.events)) == (before, 1)


async def test_tags_may_be_taken_away_altogether(people: People, database: PeopleDatabase) -> None:
    await people.do(UpsertProfile("ann", ("gold", "vegan")), UpsertProfile("ann", ()))
    assert database.rows("SELECT tags, revision FROM profile") == [([], 2)]


async def test_a_profile_keeps_its_time_and_its_count_when_its_tags_change(
    people: People, database: PeopleDatabase, clock: ManualClock
) -> None:
    await people.do(buy())
    clock.advance(HOUR)
    await people.do(UpsertProfile("ann", ("gold",)))
    assert database.rows("SELECT tags, order_count, create_time, revision FROM profile") == [(["gold"], 1, T0, 2)]


async def test_processes_at_once_count_every_purchase_once(database: PeopleDatabase, engine: AsyncEngine) -> None:
    """Two processes, three profiles, 120 purchases of 60 ids: each id is recorded by one of the two, whichever."""
    one, other = People(database.url, SystemClock()), People(database.url, SystemClock())
    names = ("ann", "bea", "cem")
    async with running(one, other):
        answers = await asyncio.gather(
            *[
                process.submit(command(buy(names[number % 3], f"p-{number}")))
                for number in range(60)
                for process in (one, other)
            ],
            return_exceptions=True,
        )
    refused = [each.reason for each in answers if isinstance(each, MeshError)]
    assert refused == ["ID_TAKEN"] * 60
    assert database.order_counts() == {"ann": 20, "bea": 20, "cem": 20}
    assert database.purchase_ids() == {f"p-{number}" for number in range(60)}
    assert await problems_of(engine) == []


@pytest.mark.parametrize("together", [True, False])
async def test_a_repeat_has_the_first_answer_and_no_second_effect(
    people: People, database: PeopleDatabase, *, together: bool
) -> None:
    twice = [command(buy(purchase_id="p"), "same"), command(buy(purchase_id="p"), "same")]
    if together:
        first, repeat = await people.submit_all(twice)
    else:
        first, repeat = [(await people.submit_all([each]))[0] for each in twice]
    assert isinstance(first, Answer)
    assert isinstance(repeat, Answer)
    assert (repeat.reply, repeat.revision, repeat.repeated) == (first.reply, 1, True)
    assert database.order_counts() == {"ann": 1}


async def test_a_repeat_after_a_restart_has_the_first_answer(
    people: People, database: PeopleDatabase, clock: ManualClock
) -> None:
    first = await people.submit(command(buy(purchase_id="p"), "same"))
    await people.do(buy())
    restarted = People(database.url, clock)
    async with running(restarted):
        repeat = await restarted.submit(command(buy(purchase_id="p"), "same"))
    assert (repeat.reply, repeat.repeated) == (first.reply, True)
    assert database.order_counts() == {"ann": 2}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("profile_id", ["ann", "bea"])
async def test_an_id_is_taken_by_the_first_purchase_whoevers_it_is(
    people: People, database: PeopleDatabase, profile_id: str, *, together: bool
) -> None:
    bodies = [buy(purchase_id="p"), buy(profile_id, "p")]
    if together:
        answers = await people.do(*bodies)
    else:
        answers = [(await people.do(body))[0] for body in bodies]
    assert [each.reason if isinstance(each, MeshError) else "" for each in answers] == ["", "ID_TAKEN"]
    assert (database.order_counts(), database.head()[0]) == ({"ann": 1}, 1)


async def test_time_is_the_logs_where_a_clock_lags(database: PeopleDatabase, clock: ManualClock) -> None:
    """What the log's time has reached is not in the future, whatever this machine's clock says."""
    ahead, lagging = People(database.url, ManualClock(T0 + HOUR)), People(database.url, clock)
    async with running(ahead, lagging):
        await ahead.do(buy())
        (answer,) = await lagging.do(buy(occur_time=T0 + HOUR))
    assert isinstance(answer, Answer)


async def test_a_former_owner_of_a_saga_records_nothing(people: People, database: PeopleDatabase) -> None:
    await people.submit(command(buy(purchase_id="p"), "step", fence=Fence("saga", 2)))
    (late,) = await people.submit_all([command(buy(purchase_id="q"), "late", fence=Fence("saga", 1))])
    assert isinstance(late, MeshError)
    assert late.reason == "STALE_FENCE"
    repeat = await people.submit(command(buy(purchase_id="p"), "step", fence=Fence("saga", 3)))
    assert repeat.repeated
    assert database.purchase_ids() == {"p"}


async def test_many_lines_of_many_purchases_go_in_one_batch(people: People, engine: AsyncEngine) -> None:
    answers = await people.do(*[buy("ann", lines=LINES * 250) for _ in range(20)])
    assert all(isinstance(each, Answer) for each in answers)
    assert await problems_of(engine) == []
