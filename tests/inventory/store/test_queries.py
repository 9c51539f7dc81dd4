"""What is read: exact to the instant, at one revision, whatever is asked twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.movements import Receive
from inventory_svc.domain.reservations import Commit, Reserve, Ship, State
from inventory_svc.domain.stock import LevelKey
from inventory_svc.errors import UnknownReservation
from inventory_svc.store.queries import (
    list_events,
    read_availabilities,
    read_lapsed_holds,
    read_level_page,
    read_levels_of_skus,
)
from inventory_svc.usecases.reservation import get_reservation
from meshkit.core.clock import ManualClock
from meshkit.log.reader import balances_as_of, read_events, read_head, revision_at
from tests.inventory.stock import HOUR, KEYS, T0, A, B, C, Stock
from tests.meshkit.log.tally import running

INSTANT = timedelta(microseconds=1)
START = LevelKey("", "", "")


async def test_a_sku_that_is_asked_for_twice_is_answered_twice_and_counted_once(
    stock: Stock, engine: AsyncEngine
) -> None:
    await stock.do(Reserve("r", ((A, 3),), HOUR))
    found = await read_availabilities(engine, ["LIP-RED", "LIP-RED"], channel="default", now=T0 + HOUR)
    assert [each.sellable for each in found.known] == [20, 20]


@pytest.mark.parametrize(("moment", "sellable"), [(T0 + HOUR - INSTANT, 17), (T0 + HOUR, 20), (T0 + 2 * HOUR, 20)])
async def test_a_lapsed_hold_counts_no_more_though_nobody_has_expired_it(
    stock: Stock, engine: AsyncEngine, moment: object, sellable: int
) -> None:
    await stock.do(Reserve("r", ((A, 3),), HOUR))
    found = await read_availabilities(engine, ["LIP-RED"], channel="default", now=moment)  # type: ignore[arg-type]  # a table
    levels = await read_levels_of_skus(engine, ["LIP-RED"], now=moment)  # type: ignore[arg-type]  # see above
    page, _ = await read_level_page(engine, skus=[], locations=[], after=START, rows_max=1, now=moment)  # type: ignore[arg-type]  # see above
    assert found.known[0].sellable == sellable
    assert levels["LIP-RED"][0].counters.reserved == 20 - sellable
    assert page[0].counters.reserved == 20 - sellable


async def test_time_is_the_logs_where_a_clock_lags(stock: Stock, engine: AsyncEngine, clock: ManualClock) -> None:
    await stock.do(Reserve("r", ((A, 3),), HOUR))
    ahead = Stock(stock._url, ManualClock(T0 + 2 * HOUR))  # noqa: SLF001 — the same database
    async with running(ahead):
        await ahead.do(Receive(((C, 1),)))
    found = await read_availabilities(engine, ["LIP-RED"], channel="default", now=clock.now())
    own, _ = await get_reservation(engine, clock, "r", client_id="client:shop", any_client=False)
    assert (found.known[0].sellable, own.state) == (20, State.EXPIRED)


async def test_known_and_unknown_skus_come_in_the_order_of_the_request(stock: Stock, engine: AsyncEngine) -> None:
    found = await read_availabilities(engine, ["Z", "MASCARA", "Y", "LIP-RED"], channel="default", now=T0)
    assert [each.sku for each in found.known] == ["MASCARA", "LIP-RED"]
    assert found.unknown == ("Z", "Y")
    assert found.revision == 3


async def test_a_reservation_is_expired_at_the_instant_it_lapses(
    stock: Stock, engine: AsyncEngine, clock: ManualClock
) -> None:
    await stock.do(Reserve("r", ((A, 3),), HOUR))
    clock.advance(HOUR - INSTANT)
    assert (await get_reservation(engine, clock, "r", client_id="client:shop", any_client=False))[0].state is State.HELD
    clock.advance(INSTANT)
    own, _ = await get_reservation(engine, clock, "r", client_id="client:shop", any_client=False)
    assert own.state is State.EXPIRED


async def test_another_clients_reservation_is_unknown(stock: Stock, engine: AsyncEngine, clock: ManualClock) -> None:
    await stock.do(Reserve("r", ((A, 3),), HOUR))
    with pytest.raises(UnknownReservation):
        await get_reservation(engine, clock, "r", client_id="client:other", any_client=False)
    assert (await get_reservation(engine, clock, "r", client_id="client:other", any_client=True))[1] == 4


async def test_levels_come_in_pages_in_order_of_key(stock: Stock, engine: AsyncEngine) -> None:
    seen: list[LevelKey] = []
    after = START
    while rows := (await read_level_page(engine, skus=[], locations=[], after=after, rows_max=3, now=T0))[0]:
        seen.extend(row.key for row in rows)
        after = rows[-1].key
    assert seen == list(KEYS)


async def test_levels_can_be_filtered_by_sku_and_location(stock: Stock, engine: AsyncEngine) -> None:
    rows, revision = await read_level_page(
        engine, skus=["LIP-RED"], locations=["PARIS"], after=START, rows_max=9, now=T0
    )
    assert ([row.key for row in rows], revision) == ([B], 3)
    rows, revision = await read_level_page(engine, skus=["NONE"], locations=[], after=START, rows_max=9, now=T0)
    assert (rows, revision) == ([], 3)


async def test_events_of_one_sku_are_its_own(stock: Stock, engine: AsyncEngine) -> None:
    rows = await list_events(engine, after=(0, 0), sku="LIP-RED", location="", rows_max=99)
    assert [(row.revision, row.kind) for row in rows] == [
        (1, "sku_upserted"), (3, "stock_received"), (3, "stock_received"), (3, "sellable_changed"),
    ]  # fmt: skip
    rows = await list_events(engine, after=(0, 0), sku="LIP-RED", location="PARIS", rows_max=99)
    assert [row.key for row in rows] == ["level\x1fLIP-RED\x1fPARIS\x1f"]
    assert await list_events(engine, after=(0, 0), sku="LIP", location="", rows_max=99) == []


async def test_balances_can_be_read_as_of_any_revision(stock: Stock, engine: AsyncEngine, clock: ManualClock) -> None:
    key = "level\x1fLIP-RED\x1fBERLIN\x1f"
    await stock.do(Reserve("r", ((A, 3),), HOUR), Commit("r", "o"))
    clock.advance(timedelta(seconds=10))
    await stock.do(Ship("r"))
    expected = {3: (3, (10, 0, 0, 0)), 4: (4, (10, 0, 3, 0)), 5: (5, (10, 0, 0, 3)), 6: (6, (7, 0, 0, 0))}
    assert {revision: (await balances_as_of(engine, [key], revision))[key] for revision in expected} == expected
    assert await balances_as_of(engine, [key], 2) == {}
    assert [await revision_at(engine, T0 + timedelta(seconds=seconds)) for seconds in (-1, 0, 9, 10, 999)] == [
        0, 5, 5, 6, 6,
    ]  # fmt: skip


async def test_pages_of_the_log_never_split_a_revision(stock: Stock, engine: AsyncEngine) -> None:
    page = await read_events(engine, 2, events_max=2)  # revision 3 has six events
    assert ({event.revision for event in page.events}, len(page.events), page.covers_to) == ({3}, 6, 3)
    page = await read_events(engine, 0, events_max=5)
    assert ({event.revision for event in page.events}, page.has_gap) == ({1, 2}, False)
    assert (await read_events(engine, 3, events_max=5)).events == []
    assert (await read_head(engine)).revision == 3


async def test_the_sweeper_finds_lapsed_holds_oldest_first(stock: Stock, engine: AsyncEngine) -> None:
    await stock.do(
        Reserve("b", ((A, 1), (B, 1)), 2 * HOUR), Reserve("a", ((A, 1),), HOUR), Reserve("c", ((A, 1),), 3 * HOUR)
    )
    assert await read_lapsed_holds(engine, now=T0 + 2 * HOUR, rows_max=9) == [
        ("a", T0 + HOUR, 1), ("b", T0 + 2 * HOUR, 2),
    ]  # fmt: skip
    assert await read_lapsed_holds(engine, now=T0 + 2 * HOUR, rows_max=1) == [("a", T0 + HOUR, 1)]
