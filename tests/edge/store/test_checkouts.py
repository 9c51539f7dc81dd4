"""The checkout's row on the real PostgreSQL: who may move it, who owns it, what is remembered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.domain.checkout import Checkout, State, Work
from edge_gateway.store import checkouts as store
from meshkit.core.ids import new_id
from tests.edge.store.rows import ANN, CLIENT, LEASE, EdgeDatabase, ask, drawn_up, move, opened, opening
from tests.meshkit.log.tally import eventually


async def test_what_is_written_is_read_back_whole(engine: AsyncEngine) -> None:
    made = await opening(engine, drawn_up(profile_id="ann"))
    found = await store.read_checkout(engine, made.checkout_id)
    assert found is not None
    assert found == replace(made, create_time=found.create_time, update_time=found.update_time)
    assert found.principal == ANN
    assert found.create_time == found.update_time


async def test_an_unknown_checkout_is_none(engine: AsyncEngine) -> None:
    assert await store.read_checkout(engine, "nobody") is None
    assert await store.read_request(engine, CLIENT, "nobody") is None


# ── requests ─────────────────────────────────────────────────────────────────


async def test_a_request_is_remembered_with_the_checkout_that_it_made(engine: AsyncEngine) -> None:
    request = ask(method="Create", fingerprint=b"\x00\xff")
    made = await opening(engine, drawn_up(), request)
    found = await store.read_request(engine, request.client_id, request.request_id)
    assert found is not None
    assert (found.method, found.fingerprint, found.checkout.checkout_id) == ("Create", b"\x00\xff", made.checkout_id)


async def test_another_client_may_use_the_same_request_id(engine: AsyncEngine) -> None:
    ours = await opening(engine, drawn_up(), ask("r", client_id="client:a"))
    theirs = await opening(engine, drawn_up(client_id="client:b"), ask("r", client_id="client:b"))
    for client_id, checkout in (("client:a", ours), ("client:b", theirs)):
        found = await store.read_request(engine, client_id, "r")
        assert found is not None
        assert found.checkout.checkout_id == checkout.checkout_id


async def test_a_second_checkout_under_the_same_request_is_refused_whole(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    first = await opening(engine, drawn_up(), ask("r"))
    with pytest.raises(store.RequestKnown):
        await opening(engine, drawn_up(), ask("r", fingerprint=b"other"))
    assert database.rows("SELECT checkout_id FROM checkout") == [(first.checkout_id,)]
    assert database.requests() == {"r": first.checkout_id}


async def test_of_twenty_checkouts_at_once_under_one_request_one_is_made(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    made = await asyncio.gather(*[opening(engine, drawn_up(), ask("r")) for _ in range(20)], return_exceptions=True)
    winners = [each for each in made if isinstance(each, Checkout)]
    assert [type(each) for each in made if not isinstance(each, Checkout)] == [store.RequestKnown] * 19
    assert database.rows("SELECT checkout_id FROM checkout") == [(winners[0].checkout_id,)]


async def test_the_same_checkout_inserted_again_is_ours(engine: AsyncEngine, database: EdgeDatabase) -> None:
    checkout, request = drawn_up(), ask()
    await opening(engine, checkout, request)
    await opening(engine, checkout, request)  # a broken connection, and the statement sent again
    assert len(database.rows("SELECT 1 FROM checkout")) == 1


async def test_a_request_that_moved_one_checkout_does_not_move_another(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    first, second = [await opened(engine, drawn_up()) for _ in range(2)]
    assert await move(engine, first.checkout_id, Work.CONFIRM, ask("r")) is not None
    with pytest.raises(store.RequestKnown):
        await move(engine, second.checkout_id, Work.CONFIRM, ask("r"))
    assert database.row(second.checkout_id)["state"] == "open"
    assert database.requests()["r"] == first.checkout_id


async def test_a_request_that_moved_nothing_is_not_remembered(engine: AsyncEngine, database: EdgeDatabase) -> None:
    made = await opening(engine, drawn_up(), ask("made"))
    assert await move(engine, made.checkout_id, Work.CONFIRM, ask("too early")) is None
    assert set(database.requests()) == {"made"}


async def test_a_refused_checkouts_request_is_forgotten_and_decided_anew(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    request = ask("r")
    refused = await store.settle(engine, await opening(engine, drawn_up(), request), State.REFUSED, fault="short")
    assert refused is not None
    assert (refused.state, refused.work, refused.fault) == (State.REFUSED, Work.NONE, "short")
    assert database.requests() == {}
    assert (await opening(engine, drawn_up(), request)).state is State.OPENING


@pytest.mark.parametrize("state", [State.OPEN, State.CONFIRMED, State.CANCELLED, State.EXPIRED])
async def test_any_other_outcome_keeps_the_request(engine: AsyncEngine, database: EdgeDatabase, state: State) -> None:
    await store.settle(engine, await opening(engine, drawn_up(), ask("r")), state)
    assert set(database.requests()) == {"r"}


async def test_settling_a_refused_checkout_forgets_no_other_request(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    other = await opened(engine, drawn_up(), ask("other"))
    await store.settle(engine, await opening(engine, drawn_up(), ask("r")), State.REFUSED)
    assert database.requests() == {"other": other.checkout_id}


# ── moves ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("work", "state", "order"),
    [(Work.CONFIRM, State.CONFIRMING, "order-1"), (Work.CANCEL, State.CANCELLING, "")],
)
async def test_a_move_takes_an_open_checkout(
    engine: AsyncEngine, database: EdgeDatabase, work: Work, state: State, order: str
) -> None:
    made = await opened(engine, drawn_up())
    moved = await move(engine, made.checkout_id, work)
    assert moved is not None
    assert (moved.state, moved.work, moved.fence, moved.order_reference) == (state, work, 2, order)
    assert (moved.confirm_time is not None) == (work is Work.CONFIRM)
    left = database.rows("SELECT extract(epoch FROM lease_until - now()) FROM checkout")[0][0]
    assert 0 < left <= LEASE


async def test_a_move_of_anothers_checkout_finds_nothing(engine: AsyncEngine, database: EdgeDatabase) -> None:
    made = await opened(engine, drawn_up())
    before = database.row(made.checkout_id)
    assert await move(engine, made.checkout_id, Work.CONFIRM, ask(client_id="client:other")) is None
    assert database.row(made.checkout_id) == before


async def test_a_lapsed_checkout_cannot_be_moved(engine: AsyncEngine, database: EdgeDatabase) -> None:
    made = await opened(engine, drawn_up(expires_in=-0.001))
    before = database.row(made.checkout_id)
    for work in (Work.CONFIRM, Work.CANCEL):
        assert await move(engine, made.checkout_id, work) is None
    assert database.row(made.checkout_id) == before


STATES = [state for state in State if state is not State.OPEN]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("work", [Work.CONFIRM, Work.CANCEL])
async def test_only_an_open_checkout_can_be_moved(
    engine: AsyncEngine, database: EdgeDatabase, state: State, work: Work
) -> None:
    made = await opened(engine, drawn_up())
    database.rows(
        "UPDATE checkout SET state = %s, work = %s, lease_until = CASE WHEN %s THEN now() END",
        state.value,
        "" if state.settled else "open",
        not state.settled,
    )
    before = database.row(made.checkout_id)
    assert await move(engine, made.checkout_id, work) is None
    assert database.row(made.checkout_id) == before


async def test_of_confirms_cancels_and_expiry_at_once_exactly_one_moves_the_row(
    engine: AsyncEngine, other_engine: AsyncEngine, database: EdgeDatabase
) -> None:
    made = await opened(engine, drawn_up())
    with database.row_locked(made.checkout_id):
        racing = [
            asyncio.create_task(move(each, made.checkout_id, work))
            for work in (Work.CONFIRM, Work.CANCEL)
            for each in (engine, other_engine)
            for _ in range(5)
        ]
        await eventually(lambda: database.waiting() == 20)
    moved = [each for each in await asyncio.gather(*racing) if each is not None]
    assert len(moved) == 1
    row = database.row(made.checkout_id)
    assert (row["state"], row["fence"]) == (moved[0].state.value, 2)
    assert len(database.requests()) == 2  # the one that made it and the one that moved it


async def test_of_moves_and_expiry_at_the_instant_of_lapsing_exactly_one_wins(
    engine: AsyncEngine, other_engine: AsyncEngine, database: EdgeDatabase
) -> None:
    made = [await opened(engine, drawn_up(expires_in=0.3)) for _ in range(30)]
    seen: dict[str, list[object]] = {each.checkout_id: [] for each in made}

    async def race(checkout_id: str, work: Work) -> None:
        while database.row(checkout_id)["state"] == "open":
            if (moved := await move(engine, checkout_id, work)) is not None:
                seen[checkout_id].append(moved.state.value)
                assert moved.update_time < moved.expire_time
                return

    async def hold_back_and_sweep() -> None:
        while database.rows("SELECT 1 FROM checkout WHERE state = 'open'"):
            await store.expire_lapsed(other_engine)

    half = made[:15]
    await asyncio.gather(
        hold_back_and_sweep(),
        *[race(each.checkout_id, work) for each in half for work in (Work.CONFIRM, Work.CANCEL)],
    )
    for each in made:
        state = database.row(each.checkout_id)["state"]
        assert seen[each.checkout_id] == ([] if state == "expired" else [state])
    assert {database.row(each.checkout_id)["state"] for each in made[15:]} == {"expired"}


async def test_the_same_confirm_at_once_moves_the_row_once(engine: AsyncEngine, database: EdgeDatabase) -> None:
    made = await opened(engine, drawn_up())
    with database.row_locked(made.checkout_id):
        racing = [
            asyncio.create_task(move(engine, made.checkout_id, Work.CONFIRM, ask("r", method="confirm")))
            for _ in range(10)
        ]
        await eventually(lambda: database.waiting() == 10)
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert len([each for each in answers if isinstance(each, Checkout)]) == 1
    assert all(each is None or isinstance(each, Checkout | store.RequestKnown) for each in answers)
    assert database.row(made.checkout_id)["fence"] == 2


# ── owners ───────────────────────────────────────────────────────────────────


async def turned(engine: AsyncEngine, owner: Checkout, fault: str, lease_seconds: float = LEASE) -> bool:
    """Whether the owner could commit that the opening is undone."""
    return await store.update_work(
        engine, owner, Work.UNDO_OPEN, fault=fault, state=State.OPENING, lease_seconds=lease_seconds
    )


async def test_a_former_owners_writes_do_nothing(engine: AsyncEngine, database: EdgeDatabase) -> None:
    former = await opening(engine, drawn_up(), ask("r"))
    database.age(LEASE + 1, "lease_until")
    (owner,) = await store.take_over(engine, lease_seconds=LEASE, rows_max=10)
    assert owner.fence == former.fence + 1
    before = database.row(former.checkout_id)
    assert not await store.update_plan(engine, former, b"another", lease_seconds=LEASE)
    assert not await store.update_work(
        engine, former, Work.UNDO_OPEN, fault="{}", state=State.OPENING, lease_seconds=LEASE
    )
    for state in (State.OPEN, State.REFUSED, State.CONFIRMED):
        assert await store.settle(engine, former, state) is None
    assert await store.settle_later(engine, former, State.OPENING, after_seconds=1) is None
    assert database.row(former.checkout_id) == before
    assert set(database.requests()) == {"r"}


async def test_who_has_settled_owns_it_no_more(engine: AsyncEngine, database: EdgeDatabase) -> None:
    made = await opened(engine, drawn_up())
    before = database.row(made.checkout_id)
    assert await store.settle(engine, made, State.REFUSED) is None
    assert not await store.update_work(
        engine, made, Work.UNDO_OPEN, fault="{}", state=State.OPENING, lease_seconds=LEASE
    )
    assert await store.settle_later(engine, made, State.OPENING, after_seconds=1) is None
    assert database.row(made.checkout_id) == before


async def test_who_opened_it_does_not_own_it_once_it_is_confirmed_by_another(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    made = await opened(engine, drawn_up())
    assert await move(engine, made.checkout_id, Work.CONFIRM) is not None
    before = database.row(made.checkout_id)
    assert await store.settle(engine, made, State.REFUSED) is None
    assert database.row(made.checkout_id) == before


async def test_an_owner_writes_and_renews_its_lease(engine: AsyncEngine, database: EdgeDatabase) -> None:
    owner = await opening(engine, drawn_up())
    database.age(LEASE - 0.5, "lease_until")
    assert await store.update_plan(engine, owner, b"another", lease_seconds=60)
    assert database.rows("SELECT plan, lease_until > now() + interval '50 s' FROM checkout") == [(b"another", True)]
    assert await turned(engine, owner, "why", lease_seconds=120)
    sql = "SELECT work, fault, state, lease_until > now() + interval '110 s' FROM checkout"
    assert database.rows(sql) == [("undo open", "why", "opening", True)]


async def test_work_that_is_left_waits_its_time_and_is_then_taken_over(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    owner = await opening(engine, drawn_up())
    left = await store.settle_later(engine, owner, State.CONFIRMED, after_seconds=30)
    assert left is not None
    assert (left.state, left.work) == (State.CONFIRMED, Work.OPEN)
    assert await store.take_over(engine, lease_seconds=LEASE, rows_max=10) == []
    database.age(31, "lease_until")
    (taken,) = await store.take_over(engine, lease_seconds=LEASE, rows_max=10)
    assert (taken.state, taken.fence) == (State.CONFIRMED, 2)


@pytest.mark.parametrize(
    ("state", "waited_seconds", "again_seconds"),
    [
        (State.OPENING, 0, 0.5),
        (State.OPENING, 8, 2),
        (State.OPENING, 600, 3),
        (State.CONFIRMED, 0, 0.5),
        (State.CONFIRMED, 60, 15),
        (State.CONFIRMED, 3600, 30),
    ],
)
async def test_what_waits_for_long_is_tried_less_often(
    engine: AsyncEngine, database: EdgeDatabase, state: State, waited_seconds: float, again_seconds: float
) -> None:
    owner = await opening(engine, drawn_up())
    await store.settle_later(engine, owner, state, after_seconds=0.5)
    database.age(waited_seconds, "update_time")
    left = await store.settle_later(engine, owner, state, after_seconds=0.5)
    ((again, waited),) = database.rows(
        "SELECT extract(epoch FROM lease_until - now()), extract(epoch FROM now() - update_time) FROM checkout"
    )
    assert left is not None
    assert -2 < float(again) - again_seconds < 0.5
    assert float(waited) >= waited_seconds, "an attempt that changed nothing is no change"


async def test_what_somebody_waits_for_is_taken_over_before_what_is_sold(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    owed = [await opening(engine, drawn_up()) for _ in range(3)]
    for each in owed:
        await store.settle_later(engine, each, State.CONFIRMED, after_seconds=0)
    database.age(600, "lease_until")
    waited_for = await opening(engine, drawn_up())
    database.age(LEASE + 1, "lease_until", checkout_id=waited_for.checkout_id)
    (taken,) = await store.take_over(engine, lease_seconds=LEASE, rows_max=1)
    assert taken.checkout_id == waited_for.checkout_id


async def test_a_lease_is_renewed_for_its_owner_only(engine: AsyncEngine, database: EdgeDatabase) -> None:
    kept, lost, done = [await opening(engine, drawn_up()) for _ in range(3)]
    await store.settle(engine, done, State.OPEN)
    database.age(LEASE + 1, "lease_until", checkout_id=lost.checkout_id)
    assert len(await store.take_over(engine, lease_seconds=LEASE, rows_max=10)) == 1
    before = {each.checkout_id: database.row(each.checkout_id) for each in (lost, done)}
    await store.renew_leases(engine, [kept, lost, done], lease_seconds=600)
    assert {each: database.row(each) for each in before} == before
    sql = "SELECT lease_until > now() + interval '590 s' FROM checkout WHERE checkout_id = %s"
    assert database.rows(sql, kept.checkout_id) == [(True,)]


async def test_nobody_takes_over_what_is_owned_or_settled(engine: AsyncEngine) -> None:
    await opening(engine, drawn_up())
    await opened(engine, drawn_up())
    assert await store.take_over(engine, lease_seconds=LEASE, rows_max=10) == []


async def test_an_orphan_is_taken_over_once_a_lease(engine: AsyncEngine, database: EdgeDatabase) -> None:
    await opening(engine, drawn_up())
    for fence in (2, 3):
        database.age(LEASE + 1, "lease_until")
        assert [each.fence for each in await store.take_over(engine, lease_seconds=LEASE, rows_max=10)] == [fence]
        assert await store.take_over(engine, lease_seconds=LEASE, rows_max=10) == []


async def test_two_scanners_share_the_orphans_and_take_none_twice(
    engine: AsyncEngine, other_engine: AsyncEngine, database: EdgeDatabase
) -> None:
    made = {(await opening(engine, drawn_up())).checkout_id for _ in range(60)}
    database.age(LEASE + 1, "lease_until")
    rounds = await asyncio.gather(
        *[
            store.take_over(scanner, lease_seconds=LEASE, rows_max=10)
            for _ in range(5)
            for scanner in (engine, other_engine)
        ]
    )
    taken = [orphan.checkout_id for share in rounds for orphan in share]
    assert len(taken) == len(set(taken))
    assert all(len(share) <= 10 for share in rounds)
    while again := await store.take_over(engine, lease_seconds=LEASE, rows_max=10):
        taken += [each.checkout_id for each in again]
    assert sorted(taken) == sorted(made)
    assert database.rows("SELECT DISTINCT fence FROM checkout") == [(2,)]


@pytest.mark.parametrize("rows", [4, 40, 400])
async def test_a_scanner_takes_no_more_than_it_asked_for_and_the_oldest_first(
    engine: AsyncEngine, database: EdgeDatabase, rows: int
) -> None:
    made = [drawn_up() for _ in range(rows)]
    await asyncio.gather(*[opening(engine, each) for each in made])
    for age, checkout in enumerate(made[: min(rows, 20)]):
        database.age(LEASE + 1 + 100 * age, "lease_until", checkout_id=checkout.checkout_id)
    database.rows("ANALYZE checkout")
    taken = await store.take_over(engine, lease_seconds=LEASE, rows_max=3)
    oldest = made[: min(rows, 20)][-3:]
    assert {each.checkout_id for each in taken} == {each.checkout_id for each in oldest}


# ── time ─────────────────────────────────────────────────────────────────────


async def test_lapsed_open_checkouts_expire_and_nothing_else_does(engine: AsyncEngine, database: EdgeDatabase) -> None:
    lapsed = await opened(engine, drawn_up(expires_in=-1))
    kept = [
        await opened(engine, drawn_up(expires_in=60)),
        await opening(engine, drawn_up(expires_in=-1)),
    ]
    sold = await opened(engine, drawn_up(expires_in=60))
    assert await move(engine, sold.checkout_id, Work.CONFIRM) is not None
    database.age(120, "expire_time", checkout_id=sold.checkout_id)
    before = {each.checkout_id: database.row(each.checkout_id) for each in [*kept, sold]}
    assert await store.expire_lapsed(engine) == 1
    assert database.row(lapsed.checkout_id)["state"] == "expired"
    assert {each: database.row(each) for each in before} == before
    assert await store.expire_lapsed(engine) == 0


async def test_a_sweep_and_a_deletion_touch_no_more_rows_than_their_bound(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    await opened(engine, drawn_up(checkout_id="0", expires_in=-1), ask("0"))
    copies = store.SWEEP_MAX + 20
    database.rows(f"""
        INSERT INTO checkout SELECT (jsonb_populate_record(checkout, jsonb_build_object('checkout_id', n::text))).*
        FROM checkout, generate_series(1, {copies}) AS n""")
    database.rows(f"""
        INSERT INTO checkout_request SELECT client_id, n::text, method, fingerprint, n::text
        FROM checkout_request, generate_series(1, {copies}) AS n""")
    database.rows("ANALYZE checkout")
    assert [await store.expire_lapsed(engine) for _ in range(3)] == [store.SWEEP_MAX, 21, 0]
    database.age(9 * 86_400, "update_time")
    assert [await store.delete_old(engine, keep_days=8) for _ in range(3)] == [store.SWEEP_MAX, 21, 0]
    assert database.requests() == {}


async def test_retention_deletes_what_was_settled_long_ago_with_its_requests(
    engine: AsyncEngine, database: EdgeDatabase
) -> None:
    gone = await opened(engine, drawn_up(expires_in=-1), ask("gone"))
    await store.expire_lapsed(engine)
    database.age(10 * 86_400, "update_time")
    young = await opened(engine, drawn_up(expires_in=-1), ask("young"))
    await store.expire_lapsed(engine)
    still_open = await opened(engine, drawn_up(), ask("open"))
    at_work = await opening(engine, drawn_up(), ask("at work"))
    for each in (still_open, at_work):
        database.age(10 * 86_400, "update_time", checkout_id=each.checkout_id)
    owed = await opening(engine, drawn_up(), ask("owed"))
    await store.settle_later(engine, owed, State.CONFIRMED, after_seconds=1)
    database.age(10 * 86_400, "update_time", checkout_id=owed.checkout_id)
    assert await store.delete_old(engine, keep_days=9) == 1
    assert await store.read_checkout(engine, gone.checkout_id) is None
    left = {each.checkout_id for each in (young, still_open, at_work, owed)}
    assert {row[0] for row in database.rows("SELECT checkout_id FROM checkout")} == left
    assert set(database.requests()) == {"young", "open", "at work", "owed"}


async def test_refused_checkouts_are_deleted_after_a_day(engine: AsyncEngine, database: EdgeDatabase) -> None:
    old = await opening(engine, drawn_up())
    await store.settle(engine, old, State.REFUSED)
    database.age(86_401, "update_time")
    young = await opening(engine, drawn_up())
    await store.settle(engine, young, State.REFUSED)
    assert await store.delete_old(engine, keep_days=90) == 1
    assert database.rows("SELECT checkout_id FROM checkout") == [(young.checkout_id,)]


async def test_a_checkout_says_whether_it_has_lapsed(engine: AsyncEngine) -> None:
    lapsed, alive = await opened(engine, drawn_up(expires_in=-1)), await opened(engine, drawn_up(expires_in=60))
    for checkout, expected in ((lapsed, True), (alive, False)):
        found = await store.read_checkout(engine, checkout.checkout_id)
        assert found is not None
        assert found.lapsed is expected


# ── lists ────────────────────────────────────────────────────────────────────


async def filled(engine: AsyncEngine) -> dict[str, str]:
    """Checkouts of two clients in several states; their ids by what they are."""
    ids = {}

    async def make(name: str, *, client_id: str = CLIENT, profile_id: str = "", expires_in: float = 60) -> Checkout:
        drawn = drawn_up(client_id=client_id, profile_id=profile_id, expires_in=expires_in)
        made = await opened(engine, drawn, ask(client_id=client_id))
        ids[name] = made.checkout_id
        return made

    await make("open")
    await make("lapsed", expires_in=-1)
    await make("ann's", profile_id="ann")
    sold = await make("ann's sold", profile_id="ann")
    moved = await move(engine, sold.checkout_id, Work.CONFIRM, order="order-7")
    assert moved is not None
    await store.settle(engine, moved, State.CONFIRMED)
    await make("theirs", client_id="client:other", profile_id="ann")
    await make("being cancelled")
    await move(engine, ids["being cancelled"], Work.CANCEL)
    return ids


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, ["being cancelled", "ann's sold", "ann's", "lapsed", "open"]),
        ({"client_id": "client:other"}, ["theirs"]),
        ({"client_id": "client:nobody"}, []),
        ({"state": "open"}, ["ann's", "open"]),
        ({"state": "expired"}, ["lapsed"]),
        ({"state": "confirmed"}, ["ann's sold"]),
        ({"state": "cancelling"}, ["being cancelled"]),
        ({"profile_id": "ann"}, ["ann's sold", "ann's"]),
        ({"profile_id": "ann", "state": "open"}, ["ann's"]),
        ({"order_reference": "order-7"}, ["ann's sold"]),
        ({"order_reference": "order-7", "client_id": "client:other"}, []),
        ({"profile_id": "' OR true --"}, []),
    ],
)
async def test_a_list_has_what_was_asked_for_newest_first(
    engine: AsyncEngine, chosen: dict[str, str], found: list[str]
) -> None:
    ids = await filled(engine)
    listed = await store.list_checkouts(engine, store.Filter(**{"client_id": CLIENT, **chosen}), rows_max=100)
    assert [each.checkout_id for each in listed] == [ids[name] for name in found]


async def test_pages_follow_each_other_without_gap_or_repeat_while_others_are_made(engine: AsyncEngine) -> None:
    made = [(await opened(engine, drawn_up())).checkout_id for _ in range(7)]
    seen: list[str] = []
    before = ""
    while page := await store.list_checkouts(engine, store.Filter(CLIENT, before=before), rows_max=3):
        seen += [each.checkout_id for each in page]
        before = seen[-1]
        await opened(engine, drawn_up(checkout_id=new_id()))
    assert seen == made[::-1]
