"""Redemptions through the log on the real database: limits, expiry, undoing, and that they are counted once."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import CLOCK_SKEW_MAX, ManualClock
from meshkit.core.errors import Kind, MeshError
from meshkit.log.limits import LAPSING_MAX
from meshkit.log.model import Answer
from promo_svc.bootstrap import lapsed_holds
from promo_svc.domain.campaigns import CreateCampaign, CreatePromotion, EndCampaign
from promo_svc.domain.decide import Body
from promo_svc.domain.redemptions import Commit, Hold, Release, Reverse
from tests.promo.shop import HOUR, INSTANT, T0, PromoDatabase, Shop, hold, problems, promotion


def named(refused: MeshError) -> list[tuple[str, str, str]]:
    """The offers that are used up: promotion, code, which limit."""
    offers = json.loads(refused.metadata["offers"])
    return [(offer["promotion_id"], offer["coupon_code"], offer["limit"]) for offer in offers]


async def test_a_hold_counts_for_promotion_coupon_and_profile(
    shop: Shop, database: PromoDatabase, engine: AsyncEngine
) -> None:
    await shop.done(hold("r", "open", "code/WELCOME", profile_id="ann"))
    one = (1, 0)
    assert database.counters() == {
        ("open", "", ""): one, ("open", "", "ann"): one, ("code", "", ""): one, ("code", "", "ann"): one,
        ("code", "WELCOME", ""): one, ("code", "WELCOME", "ann"): one,
    }  # fmt: skip
    await shop.done(Commit("r", "order-1"))
    assert set(database.counters().values()) == {(0, 1)}
    await shop.done(Reverse("r"))
    assert (database.counters(), database.states()) == ({}, {"r": "reversed"})
    assert await problems(engine) == []


async def test_a_limit_holds_to_the_last_one_and_a_refusal_changes_nothing(shop: Shop, database: PromoDatabase) -> None:
    answers = await shop.do(*[hold(f"r{number}", "open", "few") for number in range(4)])
    assert [isinstance(each, Answer) for each in answers] == [True, True, False, False]
    refused = answers[2]
    assert isinstance(refused, MeshError)
    assert (refused.kind, refused.reason) == (Kind.REFUSED, "LIMIT_REACHED")
    assert named(refused) == [("few", "", "total")]
    assert database.counters() == {("open", "", ""): (2, 0), ("few", "", ""): (2, 0)}
    assert database.states() == {"r0": "held", "r1": "held"}


async def test_every_offer_that_is_used_up_is_named(shop: Shop) -> None:
    await shop.done(hold("a", "few"), hold("b", "few"), hold("c", "once", "code/SINGLE", profile_id="ann"))
    refused = await shop.refusal(hold("d", "open", "few", "once", "code/SINGLE", profile_id="ann"))
    assert named(refused) == [
        ("few", "", "total"), ("once", "", "per_profile"), ("code", "SINGLE", "coupon_per_profile"),
    ]  # fmt: skip
    await shop.done(hold("e", "code/SINGLE", profile_id="ben"))
    refused = await shop.refusal(hold("f", "code/SINGLE", profile_id="cem"))
    assert named(refused) == [("code", "SINGLE", "coupon_total")]


async def test_a_guest_cannot_use_what_each_profile_may_use_so_often(shop: Shop) -> None:
    refused = await shop.refusal(hold("r", "once"))
    assert (refused.reason, named(refused)) == ("LIMIT_REACHED", [("once", "", "per_profile")])


async def test_a_lapsed_hold_gives_its_place_to_the_next_in_the_same_instant(
    shop: Shop, database: PromoDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    await shop.done(hold("a", "few", "open"), hold("b", "few", profile_id="ann"))
    clock.advance(HOUR - INSTANT)
    assert (await shop.refusal(hold("c", "few"))).reason == "LIMIT_REACHED"
    clock.advance(INSTANT)
    before = len(shop.events)
    await shop.done(hold("d", "few"))
    assert database.states() == {"a": "expired", "b": "expired", "d": "held"}
    assert database.counters() == {("few", "", ""): (1, 0)}
    expiry = [event for event in shop.events[before:] if event.request_id == "expire:a"]
    assert [(event.kind, event.key, event.occur_time) for event in expiry] == [
        ("redemption_expired", "counter\x1ffew\x1f\x1f", T0 + HOUR),
        ("redemption_expired", "counter\x1fopen\x1f\x1f", T0 + HOUR),
    ]
    assert await problems(engine) == []


TOUCHES: list[Body] = [
    hold("new", "open"), Commit("old", "o"), Commit("other", "o"), Release("old"), Release("other"), Reverse("done"),
]  # fmt: skip


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda body: f"{type(body).__name__} {body[0]}")
async def test_whatever_touches_a_promotion_expires_its_lapsed_holds_first(
    shop: Shop, database: PromoDatabase, clock: ManualClock, engine: AsyncEngine, touch: Body
) -> None:
    await shop.done(hold("done", "open"), Commit("done", "o"), hold("other", "open", ttl=2 * HOUR))
    await shop.done(hold("old", "open", "few", profile_id="ann"), hold("far", "few"))
    clock.advance(HOUR)
    await shop.do(touch)
    states = database.states()
    by_id = isinstance(touch, Commit | Release) and touch.redemption_id == "old"  # so it touches all of its promotions
    assert (states["old"], states["far"]) == ("expired", "expired" if by_id else "held")
    assert await problems(engine) == []


async def test_more_holds_than_a_batch_can_take_are_expired_before_the_next_one(
    shop: Shop, database: PromoDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    holds = LAPSING_MAX + 50
    await shop.done(*[hold(f"r{number}", "open", profile_id=f"p{number}") for number in range(holds)])
    clock.advance(HOUR)
    await shop.done(hold("new", "open"))
    assert Counter(database.states().values()) == {"expired": holds, "held": 1}
    assert database.counters()["open", "", ""] == (1, 0)
    assert await problems(engine) == []


async def test_an_expired_hold_cannot_be_committed(shop: Shop, database: PromoDatabase, clock: ManualClock) -> None:
    await shop.done(hold("r", "few"))
    clock.advance(HOUR)
    refused = await shop.refusal(Commit("r", "o"))
    assert (refused.kind, refused.reason) == (Kind.REFUSED, "REDEMPTION_EXPIRED")
    assert (database.states(), database.counters()) == ({"r": "expired"}, {})


async def test_the_sweeper_expires_what_nobody_touches(
    shop: Shop, database: PromoDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    await shop.done(hold("b", "open", ttl=2 * HOUR), hold("a", "open"), hold("c", "open", ttl=3 * HOUR))
    clock.advance(2 * HOUR)
    due = await lapsed_holds(engine, clock, 9)
    assert [(each.request_id, each.occur_time) for each in due] == [
        ("expire:a", T0 + HOUR),
        ("expire:b", T0 + 2 * HOUR),
    ]
    await shop.submit_all(due)
    revision = len(shop.events)
    await shop.submit_all(due)
    assert (database.states(), len(shop.events)) == ({"a": "expired", "b": "expired", "c": "held"}, revision)


STEPS: dict[str, list[Body]] = {
    "held": [],
    "committed": [Commit("r", "o")],
    "released": [Release("r")],
    "expired": [],
    "reversed": [Commit("r", "o"), Reverse("r")],
}
COMMIT, RELEASE, REVERSE = Commit("r", "o2"), Release("r"), Reverse("r")
SAGA_RELEASE, SAGA_REVERSE = Release("r", in_saga=True), Reverse("r", in_saga=True)
TABLE: list[tuple[str, Body, str]] = [
    # the state, the command, the state after it or the refusal that changes nothing
    ("held", COMMIT, "committed"), ("held", RELEASE, "released"), ("held", REVERSE, "WRONG_STATE"),
    ("held", SAGA_RELEASE, "released"), ("held", SAGA_REVERSE, "released"),
    ("committed", COMMIT, "WRONG_STATE"), ("committed", RELEASE, "WRONG_STATE"), ("committed", REVERSE, "reversed"),
    ("committed", SAGA_RELEASE, "WRONG_STATE"), ("committed", SAGA_REVERSE, "reversed"),
    ("released", COMMIT, "WRONG_STATE"), ("released", RELEASE, "released"), ("released", REVERSE, "WRONG_STATE"),
    ("released", SAGA_RELEASE, "released"), ("released", SAGA_REVERSE, "released"),
    ("expired", COMMIT, "REDEMPTION_EXPIRED"), ("expired", RELEASE, "expired"), ("expired", REVERSE, "WRONG_STATE"),
    ("expired", SAGA_RELEASE, "expired"), ("expired", SAGA_REVERSE, "expired"),
    ("reversed", COMMIT, "WRONG_STATE"), ("reversed", RELEASE, "reversed"), ("reversed", REVERSE, "reversed"),
    ("reversed", SAGA_RELEASE, "reversed"), ("reversed", SAGA_REVERSE, "reversed"),
]  # fmt: skip
COUNTS = {"held": {("few", "", ""): (1, 0)}, "committed": {("few", "", ""): (0, 1)}}


@pytest.mark.parametrize(("state", "command", "outcome"), TABLE)
async def test_each_command_in_each_state(  # noqa: PLR0917 — fixtures and the columns of the table
    shop: Shop,
    database: PromoDatabase,
    clock: ManualClock,
    engine: AsyncEngine,
    state: str,
    command: Body,
    outcome: str,
) -> None:
    await shop.done(hold("r", "few"), *STEPS[state])
    if state == "expired":
        clock.advance(HOUR)
        await shop.submit_all(await lapsed_holds(engine, clock, 9))
    assert database.states() == {"r": state}
    before = len(shop.events)
    (answer,) = await shop.do(command)
    if isinstance(answer, MeshError):
        assert (answer.reason, database.states(), len(shop.events)) == (outcome, {"r": state}, before)
    else:
        assert database.states() == {"r": outcome}
        assert (len(shop.events) == before) == (outcome == state)
    assert database.counters() == COUNTS.get(database.states()["r"], {})
    assert await problems(engine) == []


@pytest.mark.parametrize("command", [COMMIT, RELEASE, REVERSE])
async def test_what_is_unknown_or_anothers_is_refused_alike(shop: Shop, command: Body) -> None:
    unknown = await shop.refusal(command)
    (answer,) = await shop.submit_all([shop.command(hold("r", "open"), client="client:other")])
    assert isinstance(answer, Answer)
    foreign = await shop.refusal(command)
    assert (
        (unknown.reason, unknown.message)
        == (foreign.reason, foreign.message)
        == ("UNKNOWN_REDEMPTION", "unknown redemption r")
    )


@pytest.mark.parametrize("undo", [SAGA_RELEASE, SAGA_REVERSE])
async def test_an_undo_that_overtakes_its_hold_bars_it(shop: Shop, database: PromoDatabase, undo: Body) -> None:
    await shop.submit(shop.command(undo, saga=("saga", 2)))
    with pytest.raises(MeshError) as refused:
        await shop.submit(shop.command(hold("r", "few"), saga=("saga", 1)))
    assert (refused.value.kind, refused.value.reason) == (Kind.CONFLICT, "STALE_FENCE")
    assert (database.states(), database.counters()) == ({}, {})


async def test_the_repeat_of_a_hold_has_its_answer_and_no_second_effect(shop: Shop, database: PromoDatabase) -> None:
    command = shop.command(hold("r", "few"))
    first = await shop.submit(command)
    again = await shop.submit(command)
    assert (again.reply, again.repeated) == (first.reply, True)
    assert database.counters() == {("few", "", ""): (1, 0)}


NOT_HELD: list[tuple[str, Hold, str, dict[str, str]]] = [
    ("a known id", hold("taken", "open"), "ID_TAKEN", {"redemption_id": "taken"}),
    ("an unknown promotion", hold("r", "open", "none"), "UNKNOWN_PROMOTION", {"promotion_id": "none"}),
    ("an unknown code", hold("r", "code/NOPE"), "UNKNOWN_COUPON", {"promotion_id": "code", "coupon_code": "NOPE"}),
    ("no code", hold("r", "code"), "UNKNOWN_COUPON", {"promotion_id": "code", "coupon_code": ""}),
    ("another promotion's code", hold("r", "open/WELCOME"), "UNKNOWN_COUPON", {"promotion_id": "open", "coupon_code": "WELCOME"}),
    ("a campaign that has ended", hold("r", "open", "old"), "NOT_RUNNING", {"offers": '[{"promotion_id":"old"}]'}),
    ("a campaign that begins later", hold("r", "open", "new", "old"), "NOT_RUNNING", {"offers": '[{"promotion_id":"new"},{"promotion_id":"old"}]'}),
    ("a promotion twice", hold("r", "open", "open"), "INVALID_REQUEST", {}),
    ("an expiry that is past", hold("r", "open")._replace(expire_time=T0), "INVALID_REQUEST", {}),
    ("an expiry in more than a day", hold("r", "open")._replace(expire_time=T0 + timedelta(days=1) + CLOCK_SKEW_MAX + INSTANT), "INVALID_REQUEST", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reason", "metadata"), [case[1:] for case in NOT_HELD], ids=[case[0] for case in NOT_HELD]
)
async def test_a_hold_that_cannot_be(
    shop: Shop, database: PromoDatabase, body: Hold, reason: str, metadata: dict[str, str]
) -> None:
    await shop.done(
        CreateCampaign("winter", "Winter", T0 - HOUR), CreatePromotion(promotion("old", campaign_id="winter")),
        EndCampaign("winter"),
        CreateCampaign("summer", "Summer", T0 + INSTANT), CreatePromotion(promotion("new", campaign_id="summer")),
        hold("taken", "open"),
    )  # fmt: skip
    refused = await shop.refusal(body)
    assert (refused.reason, dict(refused.metadata)) == (reason, metadata)
    assert database.states() == {"taken": "held"}


async def test_a_hold_that_was_made_before_the_end_stays_good(shop: Shop, database: PromoDatabase) -> None:
    await shop.done(hold("r", "open"), EndCampaign("spring"), Commit("r", "o"))
    assert database.states() == {"r": "committed"}
