"""What each command does to levels, sellable quantities and reservations, and what it answers."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

from datetime import timedelta

import pytest

from inventory_svc.domain.catalogue import (
    Location,
    LocationUpserted,
    Sku,
    SkuUpserted,
    Upserted,
    UpsertLocations,
    UpsertSkus,
)
from inventory_svc.domain.decide import Body, ReservationExtended
from inventory_svc.domain.movements import Adjust, Moved, Receive, SetCounts, SetLine
from inventory_svc.domain.reservations import Commit, Expire, Extend, Release, Reserve, Reserved, Settled, Ship, Shipped
from inventory_svc.domain.stock import EMPTY, ON_HAND_MAX, Kind, LevelChanged, LevelKey, SellableChanged
from tests.inventory.domain.book import STRANGER, T0, A, B, Book, C, counters

HOUR = timedelta(hours=1)


def with_ten() -> Book:
    book = Book()
    book.do(Receive(((A, 10),)))
    return book


EFFECTS: list[tuple[str, list[Body], dict[LevelKey, tuple[int, int, int, int]], int]] = [
    # what is done, commands after 10 of A were received, counters then, sellable of LIP-RED then
    ("nothing", [], {A: (10, 0, 0, 0)}, 10),
    ("receive", [Receive(((A, 5),))], {A: (15, 0, 0, 0)}, 15),
    ("receive lines added up", [Receive(((A, 1), (B, 2), (A, 3)))], {A: (14, 0, 0, 0), B: (2, 0, 0, 0)}, 16),
    ("receive up to the limit", [Receive(((A, ON_HAND_MAX - 10),))], {A: (ON_HAND_MAX, 0, 0, 0)}, ON_HAND_MAX),
    ("adjust up", [Adjust(((A, 2),), "found")], {A: (12, 0, 0, 0)}, 12),
    ("adjust down to nothing", [Adjust(((A, -10),), "theft")], {A: (0, 0, 0, 0)}, 0),
    ("adjust lines added up", [Adjust(((A, -15), (A, 6)), "lost")], {A: (1, 0, 0, 0)}, 1),
    ("adjust lines that cancel out", [Adjust(((A, -15), (A, 15)), "lost")], {A: (10, 0, 0, 0)}, 10),
    ("set up", [SetCounts((SetLine(A, 11),))], {A: (11, 0, 0, 0)}, 11),
    ("set down", [SetCounts((SetLine(A, 0),))], {A: (0, 0, 0, 0)}, 0),
    ("set the same", [SetCounts((SetLine(A, 10),))], {A: (10, 0, 0, 0)}, 10),
    ("set at the expected revision", [SetCounts((SetLine(A, 3, 1),))], {A: (3, 0, 0, 0)}, 3),
    ("set a level that is not there yet", [SetCounts((SetLine(B, 3, 0),))], {A: (10, 0, 0, 0), B: (3, 0, 0, 0)}, 13),
    ("reserve", [Reserve("r", ((A, 4),), HOUR)], {A: (10, 0, 4, 0)}, 6),
    ("reserve all", [Reserve("r", ((A, 10),), HOUR)], {A: (10, 0, 10, 0)}, 0),
    ("reserve lines added up", [Reserve("r", ((A, 4), (A, 6)), HOUR)], {A: (10, 0, 10, 0)}, 0),
    ("set down to what is promised", [Reserve("r", ((A, 4),), HOUR), SetCounts((SetLine(A, 4),))], {A: (4, 0, 4, 0)}, 0),
    ("extend", [Reserve("r", ((A, 4),), HOUR), Extend("r", 2 * HOUR)], {A: (10, 0, 4, 0)}, 6),
    ("commit", [Reserve("r", ((A, 4),), HOUR), Commit("r", "o")], {A: (10, 0, 0, 4)}, 6),
    ("release", [Reserve("r", ((A, 4),), HOUR), Release("r")], {A: (10, 0, 0, 0)}, 10),
    ("release twice", [Reserve("r", ((A, 4),), HOUR), Release("r"), Release("r")], {A: (10, 0, 0, 0)}, 10),
    ("ship all", [Reserve("r", ((A, 4),), HOUR), Commit("r", "o"), Ship("r")], {A: (6, 0, 0, 0)}, 6),
    ("ship a part", [Reserve("r", ((A, 4),), HOUR), Commit("r", "o"), Ship("r", ((A, 1),))], {A: (9, 0, 0, 3)}, 6),
    ("ship lines added up", [Reserve("r", ((A, 4),), HOUR), Commit("r", "o"), Ship("r", ((A, 1), (A, 2)))],
     {A: (7, 0, 0, 1)}, 6),
    ("ship a part, then the rest", [Reserve("r", ((A, 4),), HOUR), Commit("r", "o"), Ship("r", ((A, 1),)), Ship("r")],
     {A: (6, 0, 0, 0)}, 6),
]  # fmt: skip


@pytest.mark.parametrize(("bodies", "levels", "sellable"), [case[1:] for case in EFFECTS], ids=[c[0] for c in EFFECTS])
def test_a_command_moves_units(
    bodies: list[Body], levels: dict[LevelKey, tuple[int, int, int, int]], sellable: int
) -> None:
    book = with_ten()
    for body in bodies:
        book.do(body)
    assert {key: tuple(level.counters) for key, level in book.state.levels.items()} == levels
    assert book.sellable("LIP-RED") == sellable
    book.assert_invariants()


REPLIES: list[tuple[list[Body], object]] = [
    # the last command's answer, after 10 of A were received at revision 1
    ([Receive(((A, 1),))], Moved(2)),
    ([Adjust(((A, 1),), "found")], Moved(2)),
    ([Adjust(((A, 1), (A, -1)), "found")], Moved(1)),
    ([SetCounts((SetLine(A, 10),))], Moved(1)),
    ([SetCounts((SetLine(A, 9),))], Moved(2)),
    ([Reserve("r", ((A, 1),), HOUR)], Reserved("r", T0 + HOUR, 2)),
    ([Reserve("r", ((A, 1),), HOUR), Extend("r", 2 * HOUR)], Reserved("r", T0 + 2 * HOUR, 3)),
    ([Reserve("r", ((A, 1),), HOUR), Extend("r", HOUR / 2)], Reserved("r", T0 + HOUR, 2)),
    ([Reserve("r", ((A, 1),), HOUR), Extend("r", HOUR)], Reserved("r", T0 + HOUR, 2)),
    ([Reserve("r", ((A, 1),), HOUR), Commit("r", "o")], Settled("r", 3)),
    ([Reserve("r", ((A, 1),), HOUR), Release("r")], Settled("r", 3)),
    ([Reserve("r", ((A, 1),), HOUR), Release("r"), Release("r")], Settled("r", 3)),
    ([Release("never", in_saga=True)], Settled("never", 1)),
    ([Reserve("r", ((A, 2),), HOUR), Commit("r", "o"), Ship("r", ((A, 1),))], Shipped("r", closed=False, revision=4)),
    ([Reserve("r", ((A, 2),), HOUR), Commit("r", "o"), Ship("r")], Shipped("r", closed=True, revision=4)),
    ([UpsertSkus((Sku("N", "n"), Sku("M", "m")))], Upserted(2, 0, 0, 2)),
    ([UpsertSkus((Sku("N", "n"), Sku("M", "m"))), UpsertSkus((Sku("N", "n"), Sku("M", "x"), Sku("O", "o")))],
     Upserted(1, 1, 1, 3)),
    ([UpsertSkus((Sku("N", "n"),)), UpsertSkus((Sku("N", "n"),))], Upserted(0, 0, 1, 2)),
    ([UpsertLocations((Location("L", "l"),))], Upserted(1, 0, 0, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("bodies", "reply"), REPLIES)
def test_a_command_answers_what_it_did(bodies: list[Body], reply: object) -> None:
    book = with_ten()
    assert [book.do(body) for body in bodies][-1] == reply


QUIET: list[list[Body]] = [
    [Adjust(((A, 1), (A, -1)), "found")],
    [SetCounts((SetLine(A, 10),))],
    [Reserve("r", ((A, 1),), HOUR), Extend("r", timedelta(seconds=1))],
    [Reserve("r", ((A, 1),), HOUR), Release("r"), Release("r")],
    [Release("never", in_saga=True)],
    [Reserve("r", ((A, 1),), HOUR), Expire("r")],
    [UpsertSkus((Sku("N", "n"),)), UpsertSkus((Sku("N", "n"),))],
]


@pytest.mark.parametrize("bodies", QUIET)
def test_a_command_that_changes_nothing_writes_nothing(bodies: list[Body]) -> None:
    book = with_ten()
    for body in bodies:
        book.do(body)
    assert book.last is not None
    assert list(book.last.events) == []


def test_an_event_says_before_and_after_and_the_sum_of_what_may_be_sold() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    assert book.last is not None
    assert list(book.last.events) == [
        LevelChanged(
            Kind.STOCK_RESERVED, A, counters(10, 0, 0, 0), counters(10, 0, 4, 0), "r", "default", expire_time=T0 + HOUR
        ),
        SellableChanged("LIP-RED", "default", 10, 6),
    ]


def test_units_that_move_between_locations_of_one_sku_leave_its_sellable_quantity_unsaid() -> None:
    book = with_ten()
    book.do(Adjust(((A, -3), (B, 3)), "count_correction"))
    assert book.last is not None
    assert [type(event) for event in book.last.events] == [LevelChanged, LevelChanged]
    assert book.sellable("LIP-RED") == 10


def test_a_commit_does_not_touch_what_may_be_sold() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.do(Commit("r", "order-7"))
    assert book.last is not None
    assert list(book.last.events) == [
        LevelChanged(
            Kind.RESERVATION_COMMITTED,
            A,
            counters(10, 0, 4, 0),
            counters(10, 0, 0, 4),
            "r",
            "default",
            order_reference="order-7",
        )
    ]


def test_an_extension_is_an_event_of_the_reservation() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.do(Extend("r", 2 * HOUR))
    assert book.last is not None
    assert list(book.last.events) == [ReservationExtended("r", "default", T0 + 2 * HOUR)]


def test_only_what_is_new_or_different_becomes_an_event() -> None:
    book = Book()
    book.do(UpsertSkus((Sku("N", "n"), Sku("M", "m", attributes=(("shade", "red"),)))))
    book.do(UpsertSkus((Sku("M", "m", attributes=(("shade", "blue"),)), Sku("N", "n"))))
    assert book.last is not None
    assert list(book.last.events) == [SkuUpserted(Sku("M", "m", attributes=(("shade", "blue"),)))]
    book.do(UpsertLocations((Location("L", "l"),)))
    assert list(book.last.events) == [LocationUpserted(Location("L", "l"))]


def test_what_was_just_upserted_can_be_received() -> None:
    book = Book()
    book.do(UpsertSkus((Sku("N", "n"),)))
    book.do(UpsertLocations((Location("L", "l"),)))
    book.do(Receive(((LevelKey("N", "L", ""), 1),)))
    assert book.counters(LevelKey("N", "L", "")) == (1, 0, 0, 0)


@pytest.mark.parametrize(("seconds", "sellable", "state"), [(3599.999999, 6, "held"), (3600, 10, "expired")])
def test_a_hold_lapses_at_its_expire_time_to_the_instant(seconds: float, sellable: int, state: str) -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.wait(seconds)
    book.do(Receive(((C, 1),)))
    assert (book.sellable("LIP-RED"), book.state_of("r")) == (sellable, state)


def test_a_hold_can_be_committed_up_to_the_instant_before_it_lapses() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.wait(3599.999999)
    book.do(Commit("r", "o"))
    book.wait(1)
    book.do(Receive(((C, 1),)))
    assert book.state_of("r") == "committed"
    assert book.counters(A) == (10, 0, 0, 4)


def test_a_lapsed_hold_is_refused_at_the_instant_it_lapses() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.wait(3600)
    assert book.refusal(Commit("r", "o")).reason == "RESERVATION_EXPIRED"
    assert book.counters(A) == (10, 0, 0, 0)


def test_units_of_a_lapsed_hold_can_be_held_at_the_same_instant() -> None:
    book = with_ten()
    book.do(Reserve("first", ((A, 10),), HOUR))
    book.wait(3600)
    book.do(Reserve("second", ((A, 10),), HOUR))
    assert (book.state_of("first"), book.state_of("second")) == ("expired", "held")
    assert book.counters(A) == (10, 0, 10, 0)


def test_an_expiry_gives_back_all_lines() -> None:
    book = with_ten()
    book.do(Receive(((B, 5), (C, 2))))
    book.do(Reserve("r", ((A, 4), (B, 5), (C, 2)), HOUR))
    book.wait(3600)
    book.do(Receive(((A, 1),)))
    assert (book.counters(A), book.counters(B), book.counters(C)) == ((11, 0, 0, 0), (5, 0, 0, 0), (2, 0, 0, 0))


def test_an_extension_never_shortens_a_hold() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.wait(1800)
    book.do(Extend("r", timedelta(seconds=1800)))  # the same instant
    book.do(Extend("r", timedelta(seconds=1)))
    assert book.state.reservations["r"].expire_time == T0 + HOUR
    book.do(Extend("r", timedelta(seconds=1801)))
    assert book.state.reservations["r"].expire_time == T0 + HOUR + timedelta(seconds=1)


def test_an_extended_hold_lapses_at_its_later_time() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.do(Extend("r", 2 * HOUR))
    book.wait(7199.999999)
    book.do(Receive(((C, 1),)))
    assert book.state_of("r") == "held"
    book.wait(0.000001)
    book.do(Receive(((C, 1),)))
    assert book.state_of("r") == "expired"


def test_staff_act_on_reservations_of_any_client() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.do(Reserve("s", ((A, 1),), HOUR))
    book.do(Extend("r", 2 * HOUR, any_client=True), client=STRANGER)
    book.do(Commit("r", "o", any_client=True), client=STRANGER)
    book.do(Release("s", any_client=True), client=STRANGER)
    book.do(Ship("r"), client=STRANGER)
    assert book.counters(A) == (6, 0, 0, 0)


def test_a_release_in_a_saga_gives_back_what_is_held() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.do(Release("r", in_saga=True))
    assert (book.state_of("r"), book.counters(A)) == ("released", (10, 0, 0, 0))


def test_releasing_what_has_expired_succeeds_and_changes_nothing() -> None:
    book = with_ten()
    book.do(Reserve("r", ((A, 4),), HOUR))
    book.wait(3600)
    assert book.do(Release("r")) == Settled("r", 3)  # the revision of the expiry
    assert book.state_of("r") == "expired"


def test_shipping_without_lines_ships_only_what_is_left() -> None:
    book = with_ten()
    book.do(Receive(((B, 5),)))
    book.do(Reserve("r", ((A, 4), (B, 5)), HOUR))
    book.do(Commit("r", "o"))
    book.do(Ship("r", ((B, 5),)))
    book.do(Ship("r"))
    assert book.last is not None
    assert [event.key for event in book.last.events if isinstance(event, LevelChanged)] == [A]
    assert (book.counters(A), book.counters(B)) == ((6, 0, 0, 0), (0, 0, 0, 0))


def test_a_lot_is_a_level_of_its_own() -> None:
    book = with_ten()
    lot = A._replace(lot="L1")
    book.do(Receive(((lot, 3),)))
    book.do(Reserve("r", ((lot, 3),), HOUR))
    assert (book.counters(A), book.counters(lot), book.sellable("LIP-RED")) == ((10, 0, 0, 0), (3, 0, 3, 0), 10)


def test_a_level_at_negative_available_adds_nothing_to_what_may_be_sold() -> None:
    book = with_ten()
    book.do(Receive(((B, 5),)))
    level = book.state.levels[B]
    # Facts that cannot be refused (recorded sales) will take `available` below zero; no command of the core does.
    book.state.levels[B] = level._replace(counters=counters(5, 0, 0, 7))
    book.state.sellable["LIP-RED", "default"] = book.state.sellable["LIP-RED", "default"]._replace(units=10)
    book.do(Receive(((B, 1),)))
    assert book.sellable("LIP-RED") == 10
    book.do(Receive(((B, 2),)))
    assert book.sellable("LIP-RED") == 11


def test_counters_start_at_zero() -> None:
    assert (EMPTY.available, min(EMPTY), max(EMPTY)) == (0, 0, 0)
