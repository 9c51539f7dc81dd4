"""Every step fails, is repeated, arrives late, and is its process's last deed; then the books must be right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.inventory.v1 import reservation_pb2
from beautymesh.promo.v1 import redemption_pb2
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.here import CALL_FATES, COMMIT_FATES, Died, EdgeHere, Fate, edge_here, fate
from tests.edge.sagas.mesh import Mesh
from tests.edge.sagas.shop import (
    CANCELLED,
    CONFIRMED,
    GONE,
    OPEN,
    Promotion,
    Shop,
    cancel_of,
    cart,
    confirm_of,
    line,
)
from tests.edge.store.rows import EdgeDatabase

REPEATS_MAX = 6
STRUCK_SECONDS = 1.5
"""Whoever waits for an owner that does not know that it is one waits so long."""

SCANS_MAX = 6


@dataclass
class Life:
    """One checkout and whoever buys: `profile_id` tells it from those of the other lives."""

    shop: Shop
    edge: EdgeHere
    sku: str
    offer: Promotion
    fate: Fate
    profile_id: str = field(default_factory=lambda: f"p-{new_id()}")
    opened: checkout_pb2.Checkout = field(default_factory=checkout_pb2.Checkout)

    def ask(self) -> checkout_pb2.CreateCheckoutRequest:
        return cart(line(self.sku, 2), profile_id=self.profile_id, request_id=f"create-{self.profile_id}")

    async def open(self) -> None:
        """Opens it while nothing happens."""
        self.opened = await untouched(self.edge.create(self.ask()))


@dataclass(frozen=True)
class Scenario:
    """What the caller does. `before` meets no fate; `act` does, and is repeated until there is an answer that lasts.

    `points` are the calls and commits that `act` makes when all goes well; `ends` is the answer: a state, or a reason.
    """

    name: str
    points: str
    act: Callable[[Life], Awaitable[checkout_pb2.Checkout]]
    ends: object
    before: Callable[[Life], Awaitable[None]] | None = None
    units: int = 1_000
    redemptions_max: int = 0


async def create(life: Life) -> checkout_pb2.Checkout:
    return await life.edge.create(life.ask())


async def confirm(life: Life) -> checkout_pb2.Checkout:
    return await life.edge.confirm(confirm_of(life.opened, request_id=f"confirm-{life.profile_id}"))


async def cancel(life: Life) -> checkout_pb2.Checkout:
    return await life.edge.cancel(cancel_of(life.opened, request_id=f"cancel-{life.profile_id}"))


async def release_the_stock_over_its_head(life: Life) -> None:
    await life.open()
    await life.shop.inventory.ReleaseReservation(
        reservation_pb2.ReleaseReservationRequest(request_id=new_id(), reservation_id=life.opened.reservation_id)
    )


async def release_the_offers_over_its_head(life: Life) -> None:
    await life.open()
    await life.shop.promo.ReleaseRedemption(
        redemption_pb2.ReleaseRedemptionRequest(request_id=new_id(), redemption_id=life.opened.redemption_id)
    )


async def another_takes_the_offer_after_the_first_evaluation(life: Life) -> None:
    offer = life.offer

    async def on_call(name: str) -> None:
        if name == "EvaluateCart" and await life.shop.uses(offer) == (0, 0):
            await life.shop.hold(offer)

    life.fate.on_call = on_call


SCENARIOS = [
    Scenario("open", "EvaluateCart commit ReserveStock HoldRedemption commit", create, OPEN),
    Scenario(
        "confirm", "commit CommitRedemption CommitReservation RecordPurchase commit", confirm, CONFIRMED, Life.open
    ),
    Scenario("cancel", "commit ReleaseRedemption ReleaseReservation commit", cancel, CANCELLED, Life.open),
    Scenario(
        "open, short",
        "EvaluateCart commit ReserveStock commit ReleaseRedemption ReleaseReservation commit",
        create,
        "INSUFFICIENT_STOCK",
        units=1,
    ),
    Scenario(
        "open, limit gone",
        "EvaluateCart commit ReserveStock HoldRedemption EvaluateCart commit ReleaseRedemption commit",
        create,
        OPEN,
        another_takes_the_offer_after_the_first_evaluation,
        redemptions_max=1,
    ),
    Scenario(
        "confirm, stock gone",
        "commit CommitRedemption CommitReservation commit ReleaseReservation ReverseRedemption commit",
        confirm,
        "WRONG_STATE",
        release_the_stock_over_its_head,
    ),
    Scenario(
        "confirm, offers gone",
        "commit CommitRedemption commit ReleaseReservation ReverseRedemption commit",
        confirm,
        "WRONG_STATE",
        release_the_offers_over_its_head,
    ),
]


async def untouched(work: Awaitable[checkout_pb2.Checkout]) -> checkout_pb2.Checkout:
    """The work, whatever fate hangs over the task."""
    token = fate.set(None)
    try:
        return await work
    finally:
        fate.reset(token)


@pytest.fixture
async def edge(whole_mesh: Mesh, own_checkouts: EdgeDatabase) -> AsyncIterator[EdgeHere]:
    """An edge in this process."""
    async with edge_here(whole_mesh, own_checkouts.url, struck_seconds=STRUCK_SECONDS) as edge:
        yield edge


async def recover(life: Life, database: EdgeDatabase) -> None:
    """Somebody else finishes or undoes what was left, once the lease has ended."""
    for _ in range(SCANS_MAX):
        sql = "SELECT checkout_id FROM checkout WHERE profile_id = %s AND work <> ''"
        orphans = [row[0] for row in database.rows(sql, life.profile_id)]
        if not orphans:
            return
        for orphan in orphans:
            database.age(120, "lease_until", checkout_id=orphan)
        await life.edge.scan()
    raise AssertionError(f"still unfinished after {SCANS_MAX} owners")


async def lived(life: Life, scenario: Scenario, database: EdgeDatabase) -> object:
    """Acts, recovers, repeats; the answer that lasts: a state, or the reason of a refusal."""
    if scenario.before is not None:
        await scenario.before(life)
    fate.set(life.fate)
    try:
        return (await scenario.act(life)).state
    except Died:
        pass
    except MeshError as fault:
        if fault.kind not in {Kind.UNAVAILABLE, Kind.LATE}:
            return fault.reason
    fate.set(None)
    for _ in range(REPEATS_MAX):
        await recover(life, database)
        try:
            return (await scenario.act(life)).state
        except MeshError as fault:
            if fault.kind not in {Kind.UNAVAILABLE, Kind.LATE}:
                return fault.reason
    raise AssertionError(f"no answer after {REPEATS_MAX} repeats")


async def one_life(life: Life, scenario: Scenario, database: EdgeDatabase) -> str:
    """What is wrong at the end of one life; empty if nothing."""
    ended = await lived(life, scenario, database)
    fate.set(None)
    await recover(life, database)
    await life.fate.arrive_late()
    if ended != scenario.ends:
        return f"ended {ended}"
    rows = database.rows("SELECT checkout_id FROM checkout WHERE profile_id = %s", life.profile_id)
    left = [await life.edge.get(row[0]) for row in rows]
    with contextlib.suppress(AssertionError):
        for checkout in left:
            await life.shop.assert_true(checkout)
        live = [each for each in left if each.state not in GONE]
        expected = [] if isinstance(scenario.ends, str) or scenario.ends == CANCELLED else [scenario.ends]
        return "" if [each.state for each in live] == expected else f"left {[each.state for each in live]}"
    said = [
        f"{checkout_pb2.CheckoutState.Name(each.state)}: {await life.shop.reservation(each.reservation_id)} "
        f"{await life.shop.redemption(each.redemption_id)} {len(await life.shop.purchases(life.profile_id))}"
        for each in left
    ]
    return f"the services do not have what the checkouts say: {said}"


LIVES_AT_ONCE = 10
"""More would wait for connections to the database until they give up."""


def fates(scenario: Scenario) -> list[Fate]:
    """None at all, and then everything that may happen at every point."""
    points = scenario.points.split()
    return [Fate()] + [
        Fate(kind, at)
        for at, point in enumerate(points)
        for kind in (COMMIT_FATES if point == "commit" else CALL_FATES)
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
async def test_whatever_happens_at_any_step_the_books_are_right(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, scenario: Scenario
) -> None:
    room = asyncio.Semaphore(LIVES_AT_ONCE)
    goods = await shop.sku(scenario.units)
    offer = await shop.promotion(goods, total=scenario.redemptions_max)
    points = scenario.points.split()
    wrong: dict[str, str] = {}

    async def live(own: Fate) -> None:
        async with room:
            life = Life(shop, edge, goods, offer, own)
            if scenario.redemptions_max:
                life.sku = await shop.sku(scenario.units)
                life.offer = await shop.promotion(life.sku, total=scenario.redemptions_max)
            fault = await one_life(life, scenario, own_checkouts)
            if fault or own.points[: own.at + 1] != points[: own.at + 1]:
                wrong[f"{own.kind} at {points[own.at]} ({own.at})"] = fault or f"came by {own.points}"
            if not own.kind and own.points != points:
                wrong["nothing happens"] = f"came by {own.points}"

    async with asyncio.TaskGroup() as lives:
        for own in fates(scenario):
            lives.create_task(live(own))
    assert wrong == {}
    left = [await edge.get(row[0]) for row in own_checkouts.rows("SELECT checkout_id FROM checkout")]
    ours = [each for each in left if each.lines[0].sku == goods]
    await shop.assert_books(ours, skus=[goods], promotions=[offer])
