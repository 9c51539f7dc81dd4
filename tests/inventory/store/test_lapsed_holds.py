"""Lapsed holds are expired in the batch that meets them: before its first command, whole, at their own time."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.bootstrap import expiry
from inventory_svc.domain.decide import Body
from inventory_svc.domain.movements import Adjust, Receive, SetCounts, SetLine
from inventory_svc.domain.reservations import Commit, Extend, Release, Reserve, Ship
from inventory_svc.domain.stock import LevelKey
from inventory_svc.wire.events import stock_event
from meshkit.core.clock import ManualClock
from meshkit.core.errors import MeshError
from meshkit.log.limits import LAPSING_LINES_MAX, LAPSING_MAX
from meshkit.log.model import EventRow
from tests.inventory.stock import HOUR, T0, A, B, C, D, Stock, StockDatabase, ledger_problems
from tests.meshkit.log.tally import running


def reservation_of(row: EventRow) -> str:
    return stock_event(row).level.reservation_id


SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)

TOUCHES: list[Body] = [
    # every command that touches A, where `old` holds 10 until T0 + 1 h
    Reserve("new", ((A, 10),), HOUR),
    Receive(((A, 1),)),
    Adjust(((A, -10),), "lost"),
    SetCounts((SetLine(A, 0),)),
    Commit("old", "o"),
    Extend("old", HOUR),
    Release("old"),
    Ship("old"),
    Ship("promised"),
    Release("other"),
]


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda body: f"{type(body).__name__} {body[0]}"[:30])
async def test_whatever_touches_a_key_expires_its_lapsed_holds_first(
    stock: Stock, database: StockDatabase, clock: ManualClock, engine: AsyncEngine, touch: Body
) -> None:
    await stock.do(
        Reserve("promised", ((C, 1), (D, 1)), HOUR), Commit("promised", "o"), Reserve("other", ((A, 1),), 2 * HOUR)
    )
    await stock.do(Receive(((A, 1),)), Reserve("old", ((A, 10), (C, 2)), HOUR))
    before = len(stock.events)
    clock.advance(HOUR)
    await stock.do(touch)
    if isinstance(touch, Ship) and touch.reservation_id == "promised":
        assert database.reservation_states()["old"] == "expired"  # it has a line on C
    expiry = [event for event in stock.events[before:] if event.request_id == "expire:old"]
    assert [(event.kind, event.key.split("\x1f")[1:3]) for event in expiry] == [
        ("reservation_expired", ["LIP-RED", "BERLIN"]),
        ("reservation_expired", ["MASCARA", "BERLIN"]),
        ("sellable_changed", ["LIP-RED", "default"]),
        ("sellable_changed", ["MASCARA", "default"]),
    ]
    assert {event.revision for event in expiry} == {stock.events[before].revision}
    assert {(event.occur_time, event.principal, event.client_id) for event in expiry} == {
        (T0 + HOUR, "service:inventory", "service:inventory")
    }
    assert await ledger_problems(engine) == []


async def test_a_hold_is_not_expired_an_instant_too_early(
    stock: Stock, database: StockDatabase, clock: ManualClock
) -> None:
    await stock.do(Reserve("old", ((A, 10),), HOUR))
    clock.advance(HOUR - INSTANT)
    assert await stock.refusal(Reserve("new", ((A, 1),), HOUR)) == "INSUFFICIENT_STOCK"
    assert database.reservation_states() == {"old": "held"}
    clock.advance(INSTANT)
    await stock.do(Reserve("new", ((A, 1),), HOUR))
    assert database.reservation_states() == {"old": "expired", "new": "held"}


async def test_a_batch_that_only_refuses_still_expires(
    stock: Stock, database: StockDatabase, clock: ManualClock
) -> None:
    await stock.do(Reserve("old", ((A, 10),), HOUR))
    clock.advance(HOUR)
    assert await stock.refusal(Reserve("new", ((A, 11),), HOUR)) == "INSUFFICIENT_STOCK"
    assert database.reservation_states() == {"old": "expired"}
    assert database.levels()[A] == (10, 0, 0, 0)


async def test_lapsed_holds_that_lead_to_further_keys_are_all_expired(
    stock: Stock, database: StockDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    """A command on A meets a hold on A and B; on B lies one on B and C; on C one on C and D. Each leads to the next."""
    await stock.do(
        Reserve("ab", ((A, 4), (B, 4)), HOUR),
        Reserve("bc", ((B, 4), (C, 4)), HOUR),
        Reserve("cd", ((C, 4), (D, 4)), HOUR),
        Reserve("d", ((D, 6),), 2 * HOUR),
    )
    clock.advance(HOUR)
    await stock.do(Receive(((A, 1),)))
    states = database.reservation_states()
    assert states["ab"] == "expired"
    assert states["d"] == "held"
    assert await ledger_problems(engine) == []
    levels = database.levels()
    assert levels[A] == (11, 0, 0, 0)
    # Whatever else was met is either expired whole or not at all.
    held_on_b = 0 if states["bc"] == "expired" else 4
    assert levels[B] == (10, 0, held_on_b, 0)


async def test_more_holds_than_a_batch_can_take_are_expired_before_its_first_command(
    stock: Stock, database: StockDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    """After an outage, say. All of them in one transaction would take longer than one may."""
    holds = LAPSING_MAX + 50
    await stock.do(Receive(((A, holds),)))
    await stock.do(*[Reserve(f"r{number}", ((A, 1),), HOUR) for number in range(holds)])
    clock.advance(HOUR)
    (answer,) = await stock.do(Reserve("new", ((A, 10 + holds),), HOUR))
    assert not isinstance(answer, MeshError)
    assert Counter(database.reservation_states().values()) == {"expired": holds, "held": 1}
    assert await ledger_problems(engine) == []


async def test_holds_of_many_lines_are_expired_a_part_at_a_time_too(
    stock: Stock, database: StockDatabase, clock: ManualClock, engine: AsyncEngine
) -> None:
    keys = [LevelKey("LIP-RED", "BERLIN", f"L{number}") for number in range(300)]
    holds = LAPSING_LINES_MAX // len(keys) + 2
    await stock.do(Receive(tuple((key, holds) for key in keys)))
    await stock.do(*[Reserve(f"r{number}", tuple((key, 1) for key in keys), HOUR) for number in range(holds)])
    before = len(stock.commits)
    clock.advance(HOUR)
    (answer,) = await stock.do(Reserve("new", ((keys[0], holds),), HOUR))
    assert not isinstance(answer, MeshError)
    expired = [sum(event.kind == "reservation_expired" for event in commit) for commit in stock.commits[before:]]
    assert expired == [1_200, 300]
    assert await ledger_problems(engine) == []


async def test_to_expire_a_hold_no_other_one_is_looked_for(
    stock: Stock, database: StockDatabase, clock: ManualClock
) -> None:
    await stock.do(Reserve("a", ((A, 1),), HOUR), Reserve("b", ((A, 1),), HOUR))
    clock.advance(HOUR)
    await stock.submit(expiry("a", T0 + HOUR))
    assert database.reservation_states() == {"a": "expired", "b": "held"}


async def test_holds_expire_in_the_order_in_which_they_lapsed(
    stock: Stock, clock: ManualClock, engine: AsyncEngine
) -> None:
    await stock.do(
        Reserve("third", ((A, 1),), 3 * SECOND), Reserve("first", ((A, 1),), SECOND), Reserve("z", ((A, 1),), 2 * SECOND),
        Reserve("a", ((A, 1),), 2 * SECOND),
    )  # fmt: skip
    before = len(stock.events)
    clock.advance(HOUR)
    await stock.do(Receive(((A, 1),)))
    expired = [reservation_of(event) for event in stock.events[before:] if event.kind == "reservation_expired"]
    assert expired == ["first", "a", "z", "third"]
    assert await ledger_problems(engine) == []


async def test_a_hold_that_lapses_while_the_batch_waits_for_the_lock_is_expired(
    stock: Stock, database: StockDatabase, clock: ManualClock
) -> None:
    """Another process's clock is far ahead: what it calls now is beyond the horizon that this one loaded."""
    await stock.do(Reserve("old", ((A, 10),), HOUR))
    ahead = Stock(database.url, ManualClock(T0 + 2 * HOUR))
    async with running(ahead):
        await ahead.do(Receive(((D, 1),)))
    (answer,) = await stock.do(Reserve("new", ((A, 10),), HOUR))
    assert not isinstance(answer, MeshError)
    assert database.reservation_states() == {"old": "expired", "new": "held"}
    rows = database.rows("SELECT create_time, expire_time FROM reservation WHERE reservation_id = 'new'")
    assert rows == [(T0 + 2 * HOUR, T0 + 3 * HOUR)]


async def test_a_lapsed_hold_of_another_lot_of_the_same_sku_is_left_alone(
    stock: Stock, database: StockDatabase, clock: ManualClock
) -> None:
    lot = LevelKey("LIP-RED", "BERLIN", "L1")
    await stock.do(Receive(((lot, 5),)), Reserve("old", ((lot, 5),), HOUR))
    clock.advance(HOUR)
    await stock.do(Receive(((A, 1),)))
    assert database.reservation_states() == {"old": "held"}


async def test_what_is_read_of_the_event_is_what_happened(stock: Stock, clock: ManualClock) -> None:
    await stock.do(Reserve("old", ((A, 4),), HOUR))
    before = len(stock.events)
    clock.advance(2 * HOUR)
    await stock.do(Receive(((A, 1),)))
    event = stock_event(stock.events[before])
    assert (event.event_id, event.request_id, event.level.reservation_id) == ("inventory/5/0", "expire:old", "old")
    assert (event.level.before.reserved, event.level.after.reserved, event.level.reservation_id) == (4, 0, "old")
    assert (event.occur_time.ToDatetime(T0.tzinfo), event.record_time.ToDatetime(T0.tzinfo)) == (
        T0 + HOUR,
        T0 + 2 * HOUR,
    )
