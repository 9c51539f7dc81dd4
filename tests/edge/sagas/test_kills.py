"""`kill -9` between every two steps and around every commit; another edge process finishes or undoes what was begun.

One process has a checkout standing still at every point at once, and is killed; then comes a second, unmodified one.
"""
# ruff: noqa: ASYNC110 — what is waited for happens in another process, which sets no event

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.inventory.v1 import reservation_pb2
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.mesh import EdgeStub, Mesh
from tests.edge.sagas.shop import (
    CANCELLED,
    CONFIRMED,
    GONE,
    OPEN,
    REFUSED,
    Shop,
    cancel_of,
    cart,
    confirm_of,
    line,
)
from tests.edge.store.rows import EdgeDatabase

PARKED_SECONDS_MAX = 30.0
SETTLED_SECONDS_MAX = 30.0
NOTHING = 0
"""No checkout at all."""

HOLD_DOWN = "; down HoldRedemption"


@dataclass
class Point:
    """Where a checkout stands still; the state that the second process leaves it in; and what the repeat answers."""

    wish: str
    reference: str
    state: int
    answer: object
    me: str = field(default_factory=lambda: f"p-{new_id()}")
    opened: checkout_pb2.Checkout = field(default_factory=checkout_pb2.Checkout)


def points() -> list[Point]:
    """Every one there is."""

    def around(names: str) -> list[str]:
        return [f"{when} {name}" for name in names.split(", ") for when in ("before", "after")]

    opening = around("insert_opening open, ReserveStock, HoldRedemption, settle open")
    unopening = around("update_work undo open, ReleaseRedemption, ReleaseReservation, settle undo open")
    confirming = around("move_open confirm, CommitRedemption, CommitReservation, RecordPurchase, settle confirm")
    unconfirming = around("update_work undo confirm, ReverseRedemption, ReleaseReservation, settle undo confirm")
    cancelling = around("move_open cancel, ReleaseRedemption, ReleaseReservation, settle cancel")
    # Before the turn is committed the successor goes on forwards, and what was down is up again.
    return [
        *[Point("open", each, NOTHING if each == opening[0] else OPEN, OPEN) for each in opening],
        *[Point("open", each + HOLD_DOWN, OPEN if each == unopening[0] else REFUSED, OPEN) for each in unopening],
        *[Point("confirm", each, OPEN if each == confirming[0] else CONFIRMED, CONFIRMED) for each in confirming],
        *[Point("confirm, stock gone", each, CANCELLED, "WRONG_STATE") for each in unconfirming],
        *[Point("cancel", each, OPEN if each == cancelling[0] else CANCELLED, CANCELLED) for each in cancelling],
    ]


def ask(edge: EdgeStub, point: Point, sku: str) -> Callable[[], Awaitable[checkout_pb2.Checkout]]:
    """The request that stands still, and its repeat."""

    async def asked() -> checkout_pb2.Checkout:
        if point.wish == "open":
            return (await edge.CreateCheckout(create_of(point, sku))).checkout
        if point.wish == "cancel":
            return (await edge.CancelCheckout(cancel_of(point.opened, request_id=f"move-{point.me}"))).checkout
        return (await edge.ConfirmCheckout(confirm_of(point.opened, request_id=f"move-{point.me}"))).checkout

    return asked


def create_of(point: Point, sku: str) -> checkout_pb2.CreateCheckoutRequest:
    return cart(line(sku, 2), request_id=f"create-{point.me}", profile_id=point.me, reference=point.reference)


async def stand_everywhere(shop: Shop, edge: EdgeStub, chosen: list[Point], sku: str) -> list[asyncio.Task[object]]:
    """Brings each checkout to its point, where the call hangs."""
    for point in chosen:
        if point.wish != "open":
            point.opened = (await edge.CreateCheckout(create_of(point, sku))).checkout
        if point.wish == "confirm, stock gone":
            await shop.inventory.ReleaseReservation(
                reservation_pb2.ReleaseReservationRequest(
                    request_id=new_id(), reservation_id=point.opened.reservation_id
                )
            )

    async def hanging(point: Point) -> object:
        try:
            return (point.reference, await ask(edge, point, sku)())
        except MeshError as fault:
            return fault.reason

    return [asyncio.create_task(hanging(point)) for point in chosen]


async def test_a_kill_at_any_point_is_finished_or_undone_by_another_process(
    whole_mesh: Mesh, shop: Shop, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku(1_000)
    offer = await shop.promotion(sku)
    chosen = points()
    script = [sys.executable, str(Path(__file__).with_name("parking.py"))]
    settings = {"database_url": own_checkouts.url, "lease_seconds": "1"}
    # It looks for orphans once, when it starts: it must not take over its own.
    parking = whole_mesh.process("edge", command=script, scan_seconds="60", **settings)
    try:
        await asyncio.to_thread(parking.wait_until_serving)
        async with whole_mesh.edge_client(parking.target) as edge:
            hanging = await stand_everywhere(shop, edge, chosen, sku)
            async with asyncio.timeout(PARKED_SECONDS_MAX):
                while len(parking.said("parked")) < len(chosen):
                    assert not [each.result() for each in hanging if each.done()], "it went past its point"
                    await asyncio.sleep(0.05)
            parking.kill()
            assert {await each for each in hanging} == {"UNAVAILABLE"}
    finally:
        parking.kill()
    assert {each["reference"] for each in parking.said("parked")} == {each.reference for each in chosen}
    async with whole_mesh.edge(scan_seconds="0.1", **settings) as second, whole_mesh.edge_client(second.target) as edge:
        async with asyncio.timeout(SETTLED_SECONDS_MAX):
            while own_checkouts.rows("SELECT 1 FROM checkout WHERE work <> ''"):
                await asyncio.sleep(0.05)
        assert await left(own_checkouts, edge, chosen) == {name(each): each.state for each in chosen}
        for point in chosen:
            for checkout in await found(own_checkouts, edge, point):
                await shop.assert_true(checkout)
        assert {name(each): await answered(edge, each, sku) for each in chosen} == {
            name(each): each.answer for each in chosen
        }
        everything = [checkout for each in chosen for checkout in await found(own_checkouts, edge, each)]
    assert [each.wish for each in chosen if each.answer in {OPEN, CONFIRMED}].count("open") == len(
        [each for each in everything if each.state == OPEN]
    )
    await shop.assert_books(everything, skus=[sku], promotions=[offer])


def name(point: Point) -> str:
    return f"{point.wish}: {point.reference}"


async def found(database: EdgeDatabase, edge: EdgeStub, point: Point) -> list[checkout_pb2.Checkout]:
    """All checkouts of this point, first those that are gone."""
    rows = database.rows("SELECT checkout_id FROM checkout WHERE profile_id = %s", point.me)
    asks = [checkout_pb2.GetCheckoutRequest(checkout_id=row[0]) for row in rows]
    checkouts = [(await edge.GetCheckout(each)).checkout for each in asks]
    return sorted(checkouts, key=lambda each: each.state not in GONE)


async def left(database: EdgeDatabase, edge: EdgeStub, chosen: list[Point]) -> dict[str, int]:
    """The state of each point's only checkout."""
    states = {}
    for point in chosen:
        checkouts = await found(database, edge, point)
        assert len(checkouts) == (point.state != NOTHING), point
        states[name(point)] = checkouts[0].state if checkouts else NOTHING
    return states


async def answered(edge: EdgeStub, point: Point, sku: str) -> object:
    """What the same request answers when the client sends it again."""
    try:
        return (await ask(edge, point, sku)()).state
    except MeshError as fault:
        return fault.reason
