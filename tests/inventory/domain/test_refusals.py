"""Every refusal: its reason, its words, its metadata, and that it changes nothing."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from inventory_svc.domain.catalogue import Location, Sku, UpsertLocations, UpsertSkus
from inventory_svc.domain.decide import Body
from inventory_svc.domain.movements import Adjust, Receive, SetCounts, SetLine
from inventory_svc.domain.reservations import Commit, Extend, Release, Reserve, Reserved, Ship
from inventory_svc.domain.stock import ON_HAND_MAX, LevelKey
from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.errors import FieldViolation
from tests.inventory.domain.book import CLIENT, STRANGER, T0, A, B, Book, C

HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
X = LevelKey("GHOST", "BERLIN", "")
Y = LevelKey("LIP-RED", "NOWHERE", "")
Z = LevelKey("GHOST", "NOWHERE", "")
EXPIRY = "2026-03-01T13:00:00+00:00"


def stocked() -> Book:
    """10 of A, 5 of B; `held` holds 4 of A, `done` is committed (3 of A, 1 shipped), the others say what they are."""
    book = Book()
    book.do(Receive(((A, 10), (B, 5))))
    book.do(Reserve("lapsed", ((B, 1),), HOUR))
    book.wait(3600)
    book.do(Reserve("held", ((A, 4),), HOUR))
    book.do(Reserve("done", ((A, 3),), HOUR))
    book.do(Commit("done", "order-1"))
    book.do(Ship("done", ((A, 1),)))
    book.do(Reserve("free", ((A, 1),), HOUR))
    book.do(Release("free"))
    book.do(Reserve("closed", ((B, 1),), HOUR))
    book.do(Commit("closed", "order-2"))
    book.do(Ship("closed"))
    return book  # A: 9 on hand, 4 reserved, 2 allocated, 3 available; B: 4 on hand and available


def unknown(noun: str, code: str, count: int = 1, codes: str = "") -> dict[str, str]:
    return {noun: code, f"{noun}s": codes or code, "count": str(count)}


def short(*lines: tuple[LevelKey, int, int]) -> dict[str, str]:
    named = [
        f'{{"sku":"{key.sku}","location":"{key.location}","requested":{requested},"available":{available}}}'
        for key, requested, available in lines
    ]
    return {"count": str(len(lines)), "short_lines": f"[{','.join(named)}]"}


UNKNOWN = [
    # command, reason, message, metadata; an unknown SKU comes before an unknown location, both before everything else
    (Reserve("r", ((X, 1),), HOUR), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (Receive(((X, 1),)), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (Adjust(((X, -1),), "lost"), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (SetCounts((SetLine(X, 1),)), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (Reserve("r", ((Z, 1),), HOUR), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (Reserve("r", ((A, 99), (X, 1)), HOUR), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    (Receive(((LevelKey("ZZ", "BERLIN", ""), 1), (X, 1))), "UNKNOWN_SKU", "unknown SKU GHOST",
     unknown("sku", "GHOST", 2, "GHOST ZZ")),
    (Reserve("r", ((Y, 1),), HOUR), "UNKNOWN_LOCATION", "unknown location NOWHERE", unknown("location", "NOWHERE")),
    (Receive(((Y, 1),)), "UNKNOWN_LOCATION", "unknown location NOWHERE", unknown("location", "NOWHERE")),
    (Adjust(((Y, 1),), "found"), "UNKNOWN_LOCATION", "unknown location NOWHERE", unknown("location", "NOWHERE")),
    (SetCounts((SetLine(Y, 1),)), "UNKNOWN_LOCATION", "unknown location NOWHERE", unknown("location", "NOWHERE")),
    (Reserve("r", ((A, 99), (Y, 1)), HOUR), "UNKNOWN_LOCATION", "unknown location NOWHERE",
     unknown("location", "NOWHERE")),
    (Reserve("r", ((Y, 1),), HOUR, "tiktok"), "UNKNOWN_LOCATION", "unknown location NOWHERE",
     unknown("location", "NOWHERE")),
    (Reserve("r", ((A, 99),), HOUR, "tiktok"), "UNKNOWN_CHANNEL", "unknown channel tiktok", {"channel": "tiktok"}),
]  # fmt: skip

TAKEN: list[tuple[Body, str, str, dict[str, str]]] = [
    # an id stays taken whatever became of its reservation; that comes before all that is said of the lines' stock
    (Reserve("held", ((X, 1),), HOUR), "UNKNOWN_SKU", "unknown SKU GHOST", unknown("sku", "GHOST")),
    *[(Reserve(each, ((A, 99),), HOUR), "ID_TAKEN", f"there is a reservation {each} already", {"reservation_id": each})
      for each in ("held", "done", "free", "lapsed", "closed")],
]  # fmt: skip

STOCK = [
    (Reserve("r", ((A, 4),), HOUR), "INSUFFICIENT_STOCK", "4 of LIP-RED at BERLIN wanted, 3 available", short((A, 4, 3))),
    (Reserve("r", ((A, 2), (A, 2)), HOUR), "INSUFFICIENT_STOCK", "4 of LIP-RED at BERLIN wanted, 3 available",
     short((A, 4, 3))),
    (Reserve("r", ((C, 1),), HOUR), "INSUFFICIENT_STOCK", "1 of MASCARA at BERLIN wanted, 0 available", short((C, 1, 0))),
    (Reserve("r", ((C, 1), (B, 4), (A, 4)), HOUR), "INSUFFICIENT_STOCK",
     "1 of MASCARA at BERLIN wanted, 0 available (and 1 more lines are short)", short((C, 1, 0), (A, 4, 3))),
    (Adjust(((A, -4),), "lost"), "INSUFFICIENT_STOCK", "4 of LIP-RED at BERLIN wanted, 3 available", short((A, 4, 3))),
    (Adjust(((A, -2), (A, -2), (B, 1)), "lost"), "INSUFFICIENT_STOCK", "4 of LIP-RED at BERLIN wanted, 3 available",
     short((A, 4, 3))),
    (SetCounts((SetLine(A, 5),)), "INSUFFICIENT_STOCK", "4 of LIP-RED at BERLIN wanted, 3 available", short((A, 4, 3))),
    (SetCounts((SetLine(B, 1), SetLine(A, 0))), "INSUFFICIENT_STOCK", "9 of LIP-RED at BERLIN wanted, 3 available",
     short((A, 9, 3))),
    (Receive(((A, ON_HAND_MAX - 8),)), "STOCK_LIMIT_EXCEEDED",
     "LIP-RED at BERLIN would have 1000000000001 on hand; at most 1000000000000",
     {"sku": "LIP-RED", "location": "BERLIN"}),
    (Receive(((B, 1), (A, ON_HAND_MAX // 2), (A, ON_HAND_MAX // 2))), "STOCK_LIMIT_EXCEEDED",
     "LIP-RED at BERLIN would have 1000000000009 on hand; at most 1000000000000",
     {"sku": "LIP-RED", "location": "BERLIN"}),
    (Adjust(((A, ON_HAND_MAX),), "found"), "STOCK_LIMIT_EXCEEDED",
     "LIP-RED at BERLIN would have 1000000000009 on hand; at most 1000000000000",
     {"sku": "LIP-RED", "location": "BERLIN"}),
]  # fmt: skip


def conflict(expected: int, revision: int, on_hand: int, available: int) -> dict[str, str]:
    return {
        "sku": "LIP-RED",
        "location": "PARIS",
        "expected_revision": str(expected),
        "revision": str(revision),
        "on_hand": str(on_hand),
        "available": str(available),
    }


COUNTS = [
    (SetCounts((SetLine(B, 0, 1),)), "REVISION_CONFLICT",
     "LIP-RED at PARIS is at revision 12 with 4 on hand, not at revision 1", conflict(1, 12, 4, 4)),
    (SetCounts((SetLine(B, 0, 0),)), "REVISION_CONFLICT",
     "LIP-RED at PARIS is at revision 12 with 4 on hand, not at revision 0", conflict(0, 12, 4, 4)),
    (SetCounts((SetLine(C, 1, 7),)), "REVISION_CONFLICT",
     "MASCARA at BERLIN is at revision 0 with 0 on hand, not at revision 7",
     conflict(7, 0, 0, 0) | {"sku": "MASCARA", "location": "BERLIN"}),
    (SetCounts((SetLine(A, 0), SetLine(B, 0, 1))), "REVISION_CONFLICT",  # before the shortage of A
     "LIP-RED at PARIS is at revision 12 with 4 on hand, not at revision 1", conflict(1, 12, 4, 4)),
    (SetCounts((SetLine(B, 1), SetLine(B, 2))), "DUPLICATE_LINE", "LIP-RED at PARIS stands twice",
     {"sku": "LIP-RED", "location": "PARIS"}),
    (SetCounts((SetLine(B, 1), SetLine(B, 1))), "DUPLICATE_LINE", "LIP-RED at PARIS stands twice",
     {"sku": "LIP-RED", "location": "PARIS"}),
    (SetCounts((SetLine(A, 0), SetLine(A, 0))), "DUPLICATE_LINE", "LIP-RED at BERLIN stands twice",
     {"sku": "LIP-RED", "location": "BERLIN"}),
    (UpsertSkus((Sku("N", "n"), Sku("N", "n"))), "DUPLICATE_LINE", "N stands twice in the request", {"code": "N"}),
    (UpsertLocations((Location("L", "l"), Location("K", "k"), Location("L", "x"))), "DUPLICATE_LINE",
     "L stands twice in the request", {"code": "L"}),
]  # fmt: skip


def no_such(reservation_id: str) -> tuple[str, str, dict[str, str]]:
    return "UNKNOWN_RESERVATION", f"unknown reservation {reservation_id}", {"reservation_id": reservation_id}


def wrong(reservation_id: str, state: str) -> tuple[str, str, dict[str, str]]:
    metadata = {"reservation_id": reservation_id, "state": state}
    return "WRONG_STATE", f"reservation {reservation_id} is {state}", metadata


LATE = ("RESERVATION_EXPIRED", "reservation lapsed has expired", {"reservation_id": "lapsed", "expire_time": EXPIRY})

RESERVATIONS: list[tuple[Body, str, str, dict[str, str]]] = [
    (Extend("none", HOUR), *no_such("none")),
    (Commit("none", "o"), *no_such("none")),
    (Release("none"), *no_such("none")),
    (Ship("none"), *no_such("none")),
    (Extend("none", HOUR, any_client=True), *no_such("none")),
    (Extend("lapsed", HOUR), *LATE),
    (Commit("lapsed", "o"), *LATE),
    (Ship("lapsed"), *wrong("lapsed", "expired")),
    (Extend("done", HOUR), *wrong("done", "committed")),
    (Commit("done", "order-1"), *wrong("done", "committed")),
    (Release("done"), *wrong("done", "committed")),
    (Release("done", in_saga=True), *wrong("done", "committed")),
    (Extend("free", HOUR), *wrong("free", "released")),
    (Commit("free", "o"), *wrong("free", "released")),
    (Ship("free"), *wrong("free", "released")),
    (Ship("held"), *wrong("held", "held")),
    (Ship("held", ((C, 99),)), *wrong("held", "held")),
    (Extend("closed", HOUR), *wrong("closed", "closed")),
    (Commit("closed", "o"), *wrong("closed", "closed")),
    (Release("closed"), *wrong("closed", "closed")),
    (Ship("closed"), *wrong("closed", "closed")),
    (Ship("closed", ((B, 1),)), *wrong("closed", "closed")),
    (Ship("done", ((A, 3),)), "INSUFFICIENT_ALLOCATION", "3 of LIP-RED at BERLIN to ship, 2 left of the allocation",
     {"sku": "LIP-RED", "location": "BERLIN", "wanted": "3", "left": "2"}),
    (Ship("done", ((A, 2), (A, 1))), "INSUFFICIENT_ALLOCATION",
     "3 of LIP-RED at BERLIN to ship, 2 left of the allocation",
     {"sku": "LIP-RED", "location": "BERLIN", "wanted": "3", "left": "2"}),
    (Ship("done", ((A, 1), (B, 1))), "INSUFFICIENT_ALLOCATION",
     "1 of LIP-RED at PARIS to ship, 0 left of the allocation",
     {"sku": "LIP-RED", "location": "PARIS", "wanted": "1", "left": "0"}),
]  # fmt: skip

STRANGERS = [
    # Another client's reservation looks like none at all, whatever its state and whatever is asked.
    *[(Extend(each, HOUR), *no_such(each)) for each in ("held", "done", "free", "lapsed", "closed")],
    *[(Commit(each, "o"), *no_such(each)) for each in ("held", "done", "free", "lapsed", "closed")],
    *[(Release(each), *no_such(each)) for each in ("held", "done", "free", "lapsed", "closed")],
    (Release("held", in_saga=True), *no_such("held")),
]


@pytest.mark.parametrize(
    ("client", "body", "reason", "message", "metadata"),
    [(CLIENT, *case) for case in (*UNKNOWN, *TAKEN, *STOCK, *COUNTS, *RESERVATIONS)]
    + [(STRANGER, *case) for case in (*TAKEN, *STRANGERS)],
)
def test_a_refusal_says_why_and_changes_nothing(
    client: str, body: Body, reason: str, message: str, metadata: dict[str, str]
) -> None:
    refused = stocked().refusal(body, client=client)
    assert (refused.reason, refused.message, dict(refused.metadata)) == (reason, message, metadata)


def test_an_error_names_twenty_offenders_and_counts_the_rest() -> None:
    book = Book()
    keys = [LevelKey(f"GHOST{number:02}", "BERLIN", "") for number in range(25)]
    refused = book.refusal(Receive(tuple((key, 1) for key in keys)))
    assert refused.metadata["skus"] == " ".join(key.sku for key in keys[:20])
    assert refused.metadata["count"] == "25"


def test_a_shortage_names_every_line_in_order_of_the_request() -> None:
    book = Book()
    lots = [f"L{number:03}" for number in reversed(range(1_000))]
    refused = book.refusal(Reserve("r", tuple((LevelKey("LIP-RED", "BERLIN", lot), 1) for lot in lots), HOUR))
    assert refused.metadata["count"] == "1000"
    assert json.loads(refused.metadata["short_lines"]) == [
        {"sku": "LIP-RED", "location": "BERLIN", "lot": lot, "requested": 1, "available": 0} for lot in lots
    ]


def until(expire_time: datetime) -> Reserve:
    return Reserve("r", ((A, 1),), HOUR, expire_time=expire_time)


@pytest.mark.parametrize(
    ("expire_time", "description"),
    [
        (T0 + HOUR, "is past: it is 2026-03-01T13:00:00+00:00"),
        (T0, "is past: it is 2026-03-01T13:00:00+00:00"),
        (T0 + 25 * HOUR + CLOCK_SKEW_MAX + INSTANT, "may be 24 h ahead at most: it is 2026-03-01T13:00:00+00:00"),
    ],
)
def test_an_expiry_that_is_past_or_too_far_ahead_is_refused(expire_time: datetime, description: str) -> None:
    refused = stocked().refusal(until(expire_time))  # an hour after T0
    assert refused.reason == "INVALID_REQUEST"
    assert refused.violations == (FieldViolation("expire_time", description),)


@pytest.mark.parametrize("expire_time", [T0 + HOUR + INSTANT, T0 + 25 * HOUR + CLOCK_SKEW_MAX])
def test_an_expiry_within_the_next_24_hours_by_the_callers_clock_is_kept_to_the_instant(expire_time: datetime) -> None:
    book = stocked()
    assert book.do(until(expire_time)) == Reserved("r", expire_time, book.revision)
    assert book.state.reservations["r"].expire_time == expire_time
