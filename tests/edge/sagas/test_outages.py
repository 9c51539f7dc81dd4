"""A service is away for a while: 503 meanwhile, and all is finished or undone when it is back."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process, which sets no event

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from beautymesh.edge.v1 import checkout_pb2
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.conftest import Running
from tests.edge.sagas.mesh import EdgeStub
from tests.edge.sagas.shop import CANCELLED, CONFIRMED, OPEN, Shop, cancel_of, cart, confirm_of, line, shopping

Ask = Callable[[], Awaitable[checkout_pb2.Checkout]]
RECOVERY_SECONDS_MAX = 30.0
REPEATS_MAX = 50

AWAY = "UNAVAILABLE"
WHILE_AWAY: dict[str, tuple[object, object, object]] = {
    # without:    open,  confirm,   cancel
    "inventory": (AWAY, AWAY, AWAY),
    "promo": (AWAY, AWAY, AWAY),
    "profile": (OPEN, CONFIRMED, CANCELLED),  # the purchase is recorded later
}


async def answer(ask: Ask) -> object:
    """The state, or the reason of the refusal."""
    try:
        return (await ask()).state
    except MeshError as fault:
        return fault.reason


async def lasting(ask: Ask) -> object:
    """The same, repeated while a service is away."""
    for _ in range(REPEATS_MAX):
        try:
            return (await ask()).state
        except MeshError as fault:
            if fault.kind not in {Kind.UNAVAILABLE, Kind.LATE}:
                return fault.reason
            await asyncio.sleep(0.1)
    raise AssertionError(f"still no answer after {REPEATS_MAX} repeats")


def asks(edge: EdgeStub, sku: str, to_sell: checkout_pb2.Checkout, to_drop: checkout_pb2.Checkout) -> list[Ask]:
    """One request of each kind."""
    create, sell, drop = cart(line(sku), profile_id=f"p-{new_id()}"), confirm_of(to_sell), cancel_of(to_drop)

    async def created() -> checkout_pb2.Checkout:
        return (await edge.CreateCheckout(create)).checkout

    async def sold() -> checkout_pb2.Checkout:
        return (await edge.ConfirmCheckout(sell)).checkout

    async def dropped() -> checkout_pb2.Checkout:
        return (await edge.CancelCheckout(drop)).checkout

    return [created, sold, dropped]


@pytest.mark.parametrize("service", WHILE_AWAY)
async def test_while_a_service_is_away_nothing_is_lost_and_all_is_done_when_it_is_back(
    running_mesh: Running, shop: Shop, edge: EdgeStub, service: str
) -> None:
    mesh, processes = running_mesh
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    to_sell, to_drop = [
        (await edge.CreateCheckout(cart(line(sku), profile_id=f"p-{new_id()}"))).checkout for _ in range(2)
    ]
    wishes = asks(edge, sku, to_sell, to_drop)
    processes[service].kill()
    try:
        assert tuple([await answer(ask) for ask in wishes]) == WHILE_AWAY[service]
    finally:
        processes[service] = mesh.process(service)
        await asyncio.to_thread(processes[service].wait_until_serving)
    assert [await lasting(ask) for ask in wishes] == [OPEN, CONFIRMED, CANCELLED]
    everything = [await ask() for ask in wishes]
    async with shopping(mesh) as again, asyncio.timeout(RECOVERY_SECONDS_MAX):
        while not await again.purchases(to_sell.profile_id):
            await asyncio.sleep(0.05)
        while await again.level(sku) != (10, 1, 1):  # an undo may be under way
            await asyncio.sleep(0.05)
        await again.assert_books(everything, skus=[sku], promotions=[offer])
