"""A service is away: who needs it is told 503 and when to come again; reads from memory go on and say their age."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process, which sets no event

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from meshkit.core.ids import new_id
from tests.e2e.client import Reply
from tests.edge.http.front import (
    READS,
    CheckingClient,
    Front,
    assert_problem,
    counters,
    line,
    make_goods,
    open_checkout,
)

RECOVERY_SECONDS_MAX: Final = 30.0


def assert_away(reply: Reply) -> None:
    """Asserts that it is 503, and that the caller is told when to come again."""
    assert_problem(reply, 503, "UNAVAILABLE")
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("service", ["inventory", "promo", "profile"])
async def test_what_needs_a_service_that_is_away_is_503_and_done_once_when_it_is_back(
    front: Front, api: CheckingClient, service: str
) -> None:
    sku = await make_goods(api, 10)
    offer = {"campaignId": f"c-{new_id()}", "name": "Spring"}
    needs: dict[str, tuple[str, str, object]] = {
        "inventory": ("POST", "/v1/stock:receive", {"lines": [line(sku, 5)]}),
        "promo": ("POST", "/v1/campaigns", offer),
        "profile": ("PUT", f"/v1/profiles/p-{new_id()}", {"tags": ["vip"]}),
    }
    key = new_id()

    async def ask() -> Reply:
        method, target, body = needs[service]
        return await api.ask(method, target, body, headers={"idempotency-key": key})

    async with front.without(service):
        assert_away(await api.get(READS[service]))
        reply = await ask()
        assert_away(reply)
        assert reply.headers["idempotency-key"] == key
        for other in READS.keys() - {service}:
            (await api.get(READS[other])).ok()
        assert (await api.get("/healthz")).status == 200
        assert (await api.get("/readyz")).status == 200
    first = (await ask()).ok()
    assert (await ask()).ok() == first
    assert await counters(api, sku) == (15 if service == "inventory" else 10, 0, 0)


@pytest.mark.parametrize("service", ["inventory", "promo"])
async def test_a_checkout_waits_for_stock_and_offers_and_is_made_once(
    front: Front, api: CheckingClient, service: str
) -> None:
    sku = await make_goods(api, 10)
    opened = await open_checkout(api, sku)
    path = f"/v1/checkouts/{opened['checkoutId']}"
    key = new_id()

    async def create() -> Reply:
        return await api.post("/v1/checkouts", {"lines": [line(sku, 2)]}, idempotency_key=key)

    async with front.without(service):
        assert_away(await create())
        assert (await api.get(path)).ok()["checkout"] == opened
    made = (await create()).ok()
    assert (await create()).ok() == made
    assert await counters(api, sku) == (10, 3, 0)


async def test_a_sale_does_not_wait_for_the_profile(front: Front, api: CheckingClient) -> None:
    sku = await make_goods(api, 10)
    profile_id = f"p-{new_id()}"
    async with front.without("profile"):
        opened = await open_checkout(api, sku, profileId=profile_id)
        path = f"/v1/checkouts/{opened['checkoutId']}"
        sold = (await api.post(f"{path}:confirm", {"orderReference": "o"})).ok()["checkout"]
        assert sold["state"] == "CHECKOUT_STATE_CONFIRMED"
        assert await counters(api, sku) == (10, 0, 1)

    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        while (found := await api.get(f"/v1/profiles/{profile_id}/purchases")).status == 404:  # nobody knows it yet
            await asyncio.sleep(0.05)
    (purchase,) = found.ok()["purchases"]
    assert (purchase["purchaseId"], purchase["orderReference"]) == (opened["checkoutId"], "o")


async def test_reads_from_memory_go_on_without_the_service_and_say_their_age(front: Front, api: CheckingClient) -> None:
    sku, unread = await make_goods(api, 7), await make_goods(api, 7)
    path, shown = f"/v1/skus/{sku}/availability", f"/v1/storefront/skus/{sku}/availability"
    before = (await api.get(path)).ok()["availability"]
    (await api.get(shown)).ok()
    async with front.without("inventory"):
        async with asyncio.timeout(RECOVERY_SECONDS_MAX):
            while "detail=STREAM_BROKEN" not in (reply := await api.get(path)).headers["cache-status"]:
                assert reply.ok()["availability"] == before
                await asyncio.sleep(0.05)
            while int((reply := await api.get(path)).headers["age"]) < 2:
                assert reply.ok()["availability"] == before
                await asyncio.sleep(0.05)
        age = reply.headers["age"]
        assert reply.ok()["availability"] == before
        assert reply.headers["cache-status"] == f"beautymesh; hit; ttl=-{age}; detail=STREAM_BROKEN"
        known = await api.get(path, if_none_match=reply.headers["etag"])
        assert (known.status, int(known.headers["age"]) >= 2) == (304, True)
        public = await api.get(shown)
        assert (public.ok()["quantityCapped"], int(public.headers["age"]) >= 2) == ("7", True)
        batch = await api.post("/v1/availability:batchGet", {"skus": [sku]})
        assert (batch.ok()["availabilities"], int(batch.headers["age"]) >= 2) == ([before], True)
        assert_away(await api.get(path, cache_control="no-cache"))
        assert_away(await api.get(f"{path}?minRevision=1"))
        assert_away(await api.get(f"/v1/skus/{unread}/availability"))
    assert (await api.get(path, cache_control="no-cache")).ok()["availability"] == before
    (await api.post("/v1/stock:receive", {"lines": [line(sku)]})).ok()
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        while (await api.get(path)).ok()["availability"]["sellable"] != "8":
            await asyncio.sleep(0.05)


@pytest.mark.bound(seconds=0.2)
async def test_a_revision_that_does_not_come_is_told_as_such_before_the_deadline(front: Front) -> None:
    async with front.mesh.edge(deadline_seconds_default="4") as impatient:
        (serving,) = impatient.said("serving")

        async def assert_told(path: str) -> None:
            async with CheckingClient(serving["http"], front.token()) as caller:
                reply = await caller.get(f"{path}?minRevision=999999")
            assert_problem(reply, 503, "REVISION_NOT_YET_VISIBLE")
            assert reply.headers["retry-after"] == "1"

        await asyncio.gather(*[assert_told(path) for path in ("/v1/skus", "/v1/prices", "/v1/profiles")])
