"""What is read: at one revision, in order, in bounded pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import ManualClock
from profile_svc.domain.profiles import Profile, UpsertProfile
from profile_svc.domain.purchases import PurchaseLine
from profile_svc.store.queries import PurchasePage, read_profile, read_profile_page, read_purchases
from tests.profile.people import HOUR, LINES, T0, People, buy

ALL = 2**63 - 1


async def page(engine: AsyncEngine, profile_id: str = "ann", **fields: object) -> PurchasePage:
    defaults: dict[str, object] = {"sku": "", "channels": [], "before": ALL, "rows_max": 100}
    return await read_purchases(engine, profile_id, **{**defaults, **fields})  # type: ignore[arg-type]  # a table's


def ids(found: PurchasePage) -> list[str]:
    return [each.purchase_id for each in found.purchases]


async def test_a_profile_is_read_with_the_revision_of_the_log(people: People, engine: AsyncEngine) -> None:
    await people.do(UpsertProfile("ann", ("gold",)), UpsertProfile("bea"))
    assert await read_profile(engine, "ann") == (Profile("ann", ("gold",), 0, T0, 1), 2)
    assert await read_profile(engine, "cem") == (None, 2)


async def test_profiles_come_by_id_and_by_tag(people: People, engine: AsyncEngine) -> None:
    await people.do(
        *[UpsertProfile(each, tags) for each, tags in (("b", ("x",)), ("a", ()), ("B", ("x", "y")), ("c", ("xx",)))]
    )

    async def found(tag: str, after: str = "", rows_max: int = 100) -> list[str]:
        profiles, revision = await read_profile_page(engine, tag=tag, after=after, rows_max=rows_max)
        assert revision == 4
        return [each.profile_id for each in profiles]

    assert await found("") == ["B", "a", "b", "c"]
    assert await found("", after="a", rows_max=1) == ["b"]
    assert await found("x") == ["B", "b"]
    assert await found("x", after="B") == ["b"]
    assert await found("z") == []


async def test_purchases_come_newest_recorded_first_whole(
    people: People, engine: AsyncEngine, clock: ManualClock
) -> None:
    """By time of record: one that is told late is new though it was bought before the others."""
    await people.do(buy(purchase_id="first"))
    clock.advance(HOUR)
    await people.do(buy(purchase_id="told late", occur_time=T0 - HOUR), buy("bea", "hers"))
    found = await page(engine)
    assert ids(found) == ["told late", "first"]
    assert (found.known, found.more, found.revision) == (True, False, 3)
    late = found.purchases[0]
    assert (late.occur_time, late.record_time, late.revision, late.lines) == (T0 - HOUR, T0 + HOUR, 2, LINES)


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    # the filters, what is found of the purchases below
    ({}, ["4", "3", "2", "1"]),
    ({"sku": "A"}, ["4", "1"]),
    ({"sku": "Z"}, []),
    ({"channels": ["store"]}, ["3", "1"]),
    ({"channels": ["store", "default"]}, ["4", "3", "1"]),
    ({"sku": "A", "channels": ["store"]}, ["1"]),
    ({"before": 3}, ["2", "1"]),
    ({"sku": "A", "before": 4}, ["1"]),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_filters_are_combined(
    people: People, engine: AsyncEngine, filters: dict[str, Any], expected: list[str]
) -> None:
    def of(*skus: str) -> tuple[PurchaseLine, ...]:
        return tuple(PurchaseLine(sku, 1) for sku in skus)

    await people.do(
        buy(purchase_id="1", lines=of("A", "B"), channel="store"),
        buy(purchase_id="2", lines=of("B"), channel="app"),
        buy(purchase_id="3", lines=of("B", "C"), channel="store"),
        buy(purchase_id="4", lines=of("C", "A", "A")),
    )
    found = await page(engine, **filters)
    assert (ids(found), found.more) == (expected, False)


async def test_a_profile_without_purchases_is_known_and_another_is_not(people: People, engine: AsyncEngine) -> None:
    await people.do(UpsertProfile("ann"))
    assert await page(engine) == PurchasePage(known=True, purchases=[], more=False, revision=1)
    assert await page(engine, "bea") == PurchasePage(known=False, purchases=[], more=False, revision=1)


BOUNDS = [
    # rows and lines at most, what the page has of five purchases with two lines each, whether there is more
    (5, 100, 5, False),
    (4, 100, 4, True),
    (5, 10, 5, False),
    (5, 9, 5, False),  # the purchase that reaches the bound is whole
    (5, 8, 4, True),
    (5, 3, 2, True),
    (5, 1, 1, True),  # a page has at least one
]


@pytest.mark.parametrize(("rows_max", "lines_max", "number", "more"), BOUNDS)
async def test_a_page_ends_at_its_rows_or_at_its_lines(
    people: People, engine: AsyncEngine, rows_max: int, lines_max: int, number: int, *, more: bool
) -> None:
    await people.do(*[buy() for _ in range(5)])
    found = await page(engine, rows_max=rows_max, lines_max=lines_max)
    assert (len(found.purchases), found.more) == (number, more)


async def test_pages_read_meanwhile_are_consistent_with_their_revision(people: People, engine: AsyncEngine) -> None:
    for number in range(1, 6):
        await people.do(buy(occur_time=T0 - timedelta(days=number)))
        found = await page(engine)
        assert (len(found.purchases), found.revision) == (number, number)
