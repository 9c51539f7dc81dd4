"""Offers that are taken away between a cart's evaluation and its hold: what it costs then, and what is said of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.promo.v1 import cart_pb2
from edge_gateway.sagas.plan import REEVALUATIONS_MAX
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.here import EdgeHere, Fate, edge_here, fate
from tests.edge.sagas.mesh import Mesh
from tests.edge.sagas.shop import OPEN, PRICE, Promotion, Shop, cart, line
from tests.edge.store.rows import EdgeDatabase

LIMIT_REACHED = cart_pb2.REJECTION_REASON_LIMIT_REACHED
PROFILE_LIMIT_REACHED = cart_pb2.REJECTION_REASON_PROFILE_LIMIT_REACHED
UNKNOWN_COUPON = cart_pb2.REJECTION_REASON_UNKNOWN_COUPON

Theft = Callable[[], Awaitable[None]]


@pytest.fixture
async def edge(whole_mesh: Mesh, own_checkouts: EdgeDatabase) -> AsyncIterator[EdgeHere]:
    """An edge in this process."""
    async with edge_here(whole_mesh, own_checkouts.url) as edge:
        yield edge


async def created(edge: EdgeHere, asked: checkout_pb2.CreateCheckoutRequest, *thefts: Theft) -> tuple[Any, int]:
    """The checkout, or the refusal, where each theft comes right after one more evaluation; and how many there were."""
    own, coming = Fate(), iter(thefts)

    async def on_call(name: str) -> None:
        if name == "EvaluateCart" and (theft := next(coming, None)):
            await theft()

    own.on_call = on_call
    fate.set(own)
    try:
        return await edge.create(asked), own.points.count("EvaluateCart")
    except MeshError as refused:
        return refused, own.points.count("EvaluateCart")
    finally:
        fate.set(None)


def told(checkout: checkout_pb2.Checkout) -> tuple[int, list[tuple[str, str]], list[tuple[str, str, int]]]:
    """What it costs, the offers it got, and those it did not with their reasons."""
    return (
        checkout.totals.total.minor,
        [(each.promotion_id, each.coupon_code) for each in checkout.applied_offers],
        [(each.promotion_id, each.coupon_code, each.reason) for each in checkout.rejected_offers],
    )


async def test_of_two_codes_for_one_promotion_the_one_that_is_left_is_used(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku, coupon=True)
    few, many = f"FEW-{new_id()}".upper(), f"MANY-{new_id()}".upper()
    await shop.coupons(offer, few, total=1)
    await shop.coupons(offer, many)
    opened, evaluations = await created(
        edge, cart(line(sku), coupon_codes=[few.lower(), many]), lambda: shop.hold(offer, coupon_code=few)
    )
    one = offer.promotion_id
    assert told(opened) == (PRICE * 8 // 10, [(one, many)], [(one, few, LIMIT_REACHED)])
    assert (opened.state, opened.rejected_offers[0].name, evaluations) == (OPEN, "less", 2)
    assert await shop.uses(offer) == (2, 0)


async def test_a_limit_of_the_profiles_own_is_told_as_such(shop: Shop, edge: EdgeHere) -> None:
    sku, profile_id = await shop.sku(), f"p-{new_id()}"
    offer = await shop.promotion(sku, per_profile=1)
    opened, _ = await created(
        edge, cart(line(sku), profile_id=profile_id), lambda: shop.hold(offer, profile_id=profile_id)
    )
    assert told(opened) == (PRICE, [], [(offer.promotion_id, "", PROFILE_LIMIT_REACHED)])


async def test_a_campaign_that_ends_meanwhile_is_left_out(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    by_itself, by_code = await shop.promotion(sku), await shop.promotion(sku, coupon=True)
    code = f"CODE-{new_id()}".upper()
    await shop.coupons(by_code, code)

    async def end_both() -> None:
        await shop.end(by_itself)
        await shop.end(by_code)

    opened, evaluations = await created(edge, cart(line(sku), coupon_codes=[code]), end_both)
    assert (told(opened), evaluations) == ((PRICE, [], [("", code, UNKNOWN_COUPON)]), 2)


async def some_offers(shop: Shop, sku: str, count: int) -> list[Promotion]:
    """Offers that can be used once, one after the other."""
    return [await shop.promotion(sku, total=1) for _ in range(count)]


async def test_a_cart_is_priced_again_three_times_and_what_was_gone_stays_out(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    offers = await some_offers(shop, sku, REEVALUATIONS_MAX)
    opened, evaluations = await created(edge, cart(line(sku)), *[partial(shop.hold, offer) for offer in offers])
    gone = [(offer.promotion_id, "", LIMIT_REACHED) for offer in offers]
    assert (told(opened), evaluations) == ((PRICE, [], gone), 1 + REEVALUATIONS_MAX)
    await shop.assert_books([opened], skus=[sku])


async def test_a_cart_whose_offers_run_out_a_fourth_time_is_refused_and_holds_nothing(
    shop: Shop, edge: EdgeHere
) -> None:
    sku = await shop.sku()
    offers = await some_offers(shop, sku, REEVALUATIONS_MAX + 1)
    refused, evaluations = await created(edge, cart(line(sku)), *[partial(shop.hold, offer) for offer in offers])
    assert (refused.reason, evaluations) == ("OFFERS_UNSETTLED", 1 + REEVALUATIONS_MAX)
    assert [await shop.uses(offer) for offer in offers] == [(1, 0)] * len(offers)
    await shop.assert_books([], skus=[sku])
