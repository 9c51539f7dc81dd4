"""What a checkout's state does not allow is refused over REST, whoever asks and how often, and nothing is done."""
# ruff: noqa: ASYNC110 — what is waited for is the mesh's own clock

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from meshkit.core.ids import new_id
from tests.edge.http.front import (
    BERLIN,
    CheckingClient,
    assert_problem,
    counters,
    line,
    make_goods,
    nothing_done,
    open_checkout,
)

EXPIRY_SECONDS_MAX: Final = 15.0


async def test_a_checkout_is_confirmed_once(api: CheckingClient) -> None:
    sku = await make_goods(api)
    checkout = await open_checkout(api, sku, 3, profileId=f"p-{new_id()}")
    path = f"/v1/checkouts/{checkout['checkoutId']}:confirm"
    order = {"requestId": new_id(), "orderReference": "o-1"}
    sold = (await api.post(path, order)).ok()
    assert sold["checkout"]["state"] == "CHECKOUT_STATE_CONFIRMED"
    async with nothing_done(api):
        assert (await api.post(path, order)).ok() == sold
        for reference in ("o-1", "o-2"):
            problem = assert_problem(await api.post(path, {"orderReference": reference}), 409, "WRONG_STATE")
            assert problem["metadata"]["state"] == "confirmed"
        reply = await api.post(path, order | {"orderReference": "o-2"})
        assert_problem(reply, 422, "REQUEST_ID_REUSED")
    assert await counters(api, sku) == (10, 0, 3)


async def test_what_is_sold_is_not_cancelled(api: CheckingClient) -> None:
    sku = await make_goods(api)
    checkout = await open_checkout(api, sku)
    path = f"/v1/checkouts/{checkout['checkoutId']}"
    (await api.post(f"{path}:confirm", {"orderReference": "o"})).ok()
    async with nothing_done(api):
        problem = assert_problem(await api.post(f"{path}:cancel", {}), 409, "WRONG_STATE")
        assert problem["metadata"]["state"] == "confirmed"
    assert await counters(api, sku) == (10, 0, 1)


async def test_what_is_cancelled_is_not_sold(api: CheckingClient) -> None:
    sku = await make_goods(api)
    checkout = await open_checkout(api, sku)
    path = f"/v1/checkouts/{checkout['checkoutId']}"
    gone = (await api.post(f"{path}:cancel", {})).ok()["checkout"]
    async with nothing_done(api):
        problem = assert_problem(await api.post(f"{path}:confirm", {"orderReference": "o"}), 409, "WRONG_STATE")
        assert problem["metadata"]["state"] == "cancelled"
        assert (await api.post(f"{path}:cancel", {})).ok()["checkout"] == gone
    assert await counters(api, sku) == (10, 0, 0)


async def test_what_has_expired_is_not_sold_and_nothing_has_changed(api: CheckingClient) -> None:
    sku = await make_goods(api)
    checkout = await open_checkout(api, sku, ttl="3s")
    path = f"/v1/checkouts/{checkout['checkoutId']}"

    async def found() -> dict[str, Any]:
        """The checkout, but for when its row was last written: a worker tidies up some time after the expiry."""
        return {**(await api.get(path)).ok()["checkout"], "updateTime": ""}

    gone = {**checkout, "state": "CHECKOUT_STATE_EXPIRED", "updateTime": ""}
    async with asyncio.timeout(EXPIRY_SECONDS_MAX):
        while await found() != gone or await counters(api, sku) != (10, 0, 0):
            await asyncio.sleep(0.05)
    assert_problem(await api.post(f"{path}:confirm", {"orderReference": "o"}), 409, "CHECKOUT_EXPIRED")
    assert (await api.post(f"{path}:cancel", {})).ok()["checkout"]["state"] == "CHECKOUT_STATE_EXPIRED"
    assert await found() == gone
    assert await counters(api, sku) == (10, 0, 0)


async def test_a_cart_that_cannot_be_held_names_every_line_that_is_short(api: CheckingClient) -> None:
    plenty, few, none = [await make_goods(api, units) for units in (10, 2, 0)]
    async with nothing_done(api):
        reply = await api.post("/v1/checkouts", {"lines": [line(plenty, 1), line(none, 1), line(few, 3)]})
        problem = assert_problem(reply, 409, "INSUFFICIENT_STOCK")
    assert json.loads(problem["metadata"]["short_lines"]) == [
        {"sku": none, "location": BERLIN, "requested": 1, "available": 0},
        {"sku": few, "location": BERLIN, "requested": 3, "available": 2},
    ]
    assert reply.headers["idempotency-key"]
    assert await counters(api, plenty) == (10, 0, 0)
    assert await counters(api, few) == (2, 0, 0)


async def test_a_cart_of_what_is_not_sold_names_it(api: CheckingClient) -> None:
    sku = await make_goods(api)
    async with nothing_done(api):
        reply = await api.post("/v1/checkouts", {"lines": [line(sku), line("no-price-1"), line("no-price-2")]})
        problem = assert_problem(reply, 409, "NO_PRICE")
        assert "no-price-1" in str(problem["metadata"])
        assert "no-price-2" in str(problem["metadata"])


async def test_what_is_not_there_is_not_found(api: CheckingClient) -> None:
    nobody = new_id()
    async with nothing_done(api):
        for method, target, body, reason in (
            ("GET", f"/v1/skus/{nobody}/availability", None, "UNKNOWN_SKU"),
            ("GET", f"/v1/storefront/skus/{nobody}/availability", None, "UNKNOWN_SKU"),
            ("GET", f"/v1/reservations/{nobody}", None, "UNKNOWN_RESERVATION"),
            ("GET", f"/v1/campaigns/{nobody}", None, "UNKNOWN_CAMPAIGN"),
            ("GET", f"/v1/redemptions/{nobody}", None, "UNKNOWN_REDEMPTION"),
            ("GET", f"/v1/profiles/{nobody}", None, "UNKNOWN_PROFILE"),
            ("GET", f"/v1/checkouts/{nobody}", None, "UNKNOWN_CHECKOUT"),
            ("POST", "/v1/stock:receive", {"lines": [line(nobody)]}, "UNKNOWN_SKU"),
            ("POST", f"/v1/campaigns/{nobody}:end", {}, "UNKNOWN_CAMPAIGN"),
            ("POST", f"/v1/checkouts/{nobody}:cancel", {}, "UNKNOWN_CHECKOUT"),
        ):
            assert_problem(await api.ask(method, target, body), 404, reason)
