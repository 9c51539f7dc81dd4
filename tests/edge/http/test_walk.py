"""Every name that others rely on, asked once over REST as it is spelled in the contract; every list pages and filters.

Each answer is held against the OpenAPI document by the client itself.
"""
# ruff: noqa: ANN401 — JSON is anything

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest

from meshkit.core.ids import new_id
from tests.e2e.client import Event
from tests.edge.http.document import OPERATIONS, assert_events_documented
from tests.edge.http.front import BERLIN, HOUR, CheckingClient, Front, counters, line, make_goods, open_checkout

STREAM_SECONDS_MAX: Final = 20.0
"""More than the 15 s after which a stream says that nothing has happened."""

ASKED: Final[set[str]] = set()
"""Operations that a test of this module has seen succeed."""


@pytest.fixture(scope="module", autouse=True)
def whole_walk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Asserts at the end that no operation of the document was left out, if all tests of the module were to run."""
    yield
    tests = {name for name in vars(request.module) if name.startswith("test_")}
    ran = {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}
    if tests <= ran and not request.session.testsfailed:
        assert OPERATIONS.keys() - ASKED == set()


@pytest.fixture
async def api(front: Front) -> AsyncIterator[CheckingClient]:
    """A caller with every scope, whose successes count."""
    async with front.client() as client:
        yield client
        ASKED.update(client.asked)


async def assert_pages(api: CheckingClient, path: str, member: str, **query: Any) -> list[dict[str, Any]]:
    """The rows of a list; asserts that pages of one row, one after another, are the same."""

    async def page(**more: str) -> tuple[list[dict[str, Any]], str]:
        found = (await api.get(f"{path}?{urlencode({**query, **more})}")).ok()
        return found[member], found["nextPageToken"]

    rows, token = await page(pageSize="1000")
    assert token == ""
    paged: list[dict[str, Any]] = []
    while len(paged) <= len(rows):
        found, token = await page(pageSize="1", pageToken=token)
        assert len(found) == bool(rows)
        paged += found
        if not token:
            break
    assert paged == rows
    return rows


def codes(rows: list[dict[str, Any]], member: str) -> list[str]:
    """One member of each row."""
    return [row[member] for row in rows]


async def test_skus(api: CheckingClient) -> None:
    brand = f"brand-{new_id()}"
    skus = [
        {"sku": f"{brand}/{number}", "name": f"Rouge {number}", "brand": brand, "product": f"p{number}",
         "category": f"k{number % 2}", "attributes": {"shade": "Ñandú ✓"}}
        for number in range(3)
    ]  # fmt: skip
    body = {"requestId": new_id(), "skus": skus}
    made = (await api.post("/v1/skus:batchUpsert", body)).ok()
    assert (made["created"], made["updated"], made["unchanged"]) == (3, 0, 0)
    assert (await api.post("/v1/skus:batchUpsert", body)).ok() == made
    assert await assert_pages(api, "/v1/skus", "skus", brand=brand) == skus
    assert await assert_pages(api, "/v1/skus", "skus", brand=brand, category="k0") == [skus[0], skus[2]]
    assert await assert_pages(api, "/v1/skus", "skus", brand=brand, product="p1") == [skus[1]]
    assert await assert_pages(api, "/v1/skus", "skus", skus=skus[2]["sku"]) == [skus[2]]


async def test_locations(api: CheckingClient) -> None:
    names = sorted(f"PLACE-{new_id()}" for _ in range(3))
    kinds = ["LOCATION_KIND_WAREHOUSE", "LOCATION_KIND_STORE", "LOCATION_KIND_IN_TRANSIT"]
    places = [{"location": name, "name": name, "kind": kind} for name, kind in zip(names, kinds, strict=True)]
    body = {"requestId": new_id(), "locations": places}
    assert (await api.post("/v1/locations:batchUpsert", body)).ok()["created"] == 3
    found = (await api.get("/v1/locations?" + "&".join(f"locations={name}" for name in names))).ok()["locations"]
    assert found == places
    assert await assert_pages(api, "/v1/locations", "locations", kind="LOCATION_KIND_IN_TRANSIT") == [places[2]]
    assert await assert_pages(api, "/v1/locations", "locations", locations=names[1]) == [places[1]]
    assert len(await assert_pages(api, "/v1/locations", "locations")) >= 3


async def test_prices(api: CheckingClient) -> None:
    sku = f"PRICED-{new_id()}"
    later = "2100-01-01T00:00:00Z"
    prices = [
        {"sku": sku, "currency": "EUR", "priceMinor": "900", "taxIncluded": True},
        {"sku": sku, "currency": "USD", "priceMinor": "1000"},
        {"sku": sku, "currency": "USD", "priceMinor": "1100", "validFrom": later},
        {"sku": sku, "currency": "USD", "priceMinor": "1050", "channel": "app"},
    ]
    made = (await api.post("/v1/prices:batchUpsert", {"requestId": new_id(), "prices": prices})).ok()
    assert made["created"] == 4
    rows = await assert_pages(api, "/v1/prices", "prices", skus=sku)
    assert codes(rows, "priceMinor") == ["900", "1000", "1100", "1050"]
    assert (rows[0]["taxIncluded"], rows[2]["validFrom"], rows[3]["channel"]) == (True, later, "app")
    assert {row["revision"] for row in rows} == {made["revision"]}
    rows = await assert_pages(api, "/v1/prices", "prices", skus=sku, currency="EUR")
    assert codes(rows, "priceMinor") == ["900"]
    rows = await assert_pages(api, "/v1/prices", "prices", skus=sku, channel="app")
    assert codes(rows, "priceMinor") == ["900", "1000", "1100", "1050"]
    rows = await assert_pages(api, "/v1/promo/events", "events", sku=sku)
    assert [(row["kind"], row["key"][:2]) for row in rows] == [("price_set", ["price", sku])] * 4


async def test_stock(api: CheckingClient) -> None:
    sku = await make_goods(api, 0)
    received = (await api.post("/v1/stock:receive", {"requestId": new_id(), "lines": [line(sku, "10")]})).ok()
    lost = {"requestId": new_id(), "lines": [line(sku, "-3")], "reason": "ADJUST_REASON_LOST"}
    adjusted = (await api.post("/v1/stock:adjust", lost)).ok()
    counted = {"requestId": new_id(), "lines": [{**line(sku, 12), "expectedRevision": adjusted["revision"]}]}
    (await api.post("/v1/stock:set", counted)).ok()
    assert await counters(api, sku) == (12, 0, 0)
    keys = {"keys": [{"sku": sku, "location": BERLIN}]}
    before = (await api.post("/v1/stock:asOf", {**keys, "revision": received["revision"]})).ok()["levels"]
    now = (await api.post("/v1/stock:asOf", {**keys, "recordTime": datetime.now(UTC).isoformat()})).ok()["levels"]
    assert [level["counters"]["onHand"] for level in before + now] == ["10", "12"]


async def test_levels_and_events(api: CheckingClient) -> None:
    sku = await make_goods(api, 5)
    other = {"location": "OTHER", "name": "Other"}
    (await api.post("/v1/locations:batchUpsert", {"locations": [other]})).ok()
    (await api.post("/v1/stock:receive", {"lines": [{**line(sku, 7), "location": "OTHER"}]})).ok()
    rows = await assert_pages(api, "/v1/stock/levels", "levels", skus=sku)
    assert [(row["location"], row["available"]) for row in rows] == [(BERLIN, "5"), ("OTHER", "7")]
    assert codes(await assert_pages(api, "/v1/stock/levels", "levels", skus=sku, location="OTHER"), "available") == [
        "7"
    ]
    rows = await assert_pages(api, "/v1/stock/events", "events", sku=sku)
    assert [row["kind"].removeprefix("STOCK_EVENT_KIND_") for row in rows] == [
        "SKU_UPSERTED", "STOCK_RECEIVED", "SELLABLE_CHANGED", "STOCK_RECEIVED", "SELLABLE_CHANGED",
    ]  # fmt: skip
    rows = await assert_pages(api, "/v1/stock/events", "events", sku=sku, location="OTHER")
    assert [row["level"]["after"]["onHand"] for row in rows] == ["7"]
    after = await assert_pages(api, "/v1/stock/events", "events", sku=sku, afterRevision=rows[0]["revision"])
    assert after == []


async def test_availability(api: CheckingClient, front: Front) -> None:
    sku = await make_goods(api, 7, sku=f"a/b:{new_id()}")
    path = f"/v1/skus/{quote(sku, safe='')}/availability"
    found = await api.get(f"{path}?includeLevels=true")
    assert [level["available"] for level in found.ok()["availability"]["levels"]] == ["7"]
    found = await api.get(path)
    sellable = found.ok()["availability"]
    assert (sellable["sku"], sellable["channel"], sellable["sellable"]) == (sku, "default", "7")
    assert (await api.get(path, if_none_match=found.headers["etag"])).status == 304
    assert (await api.get(f"{path}?minRevision={sellable['revision']}")).ok()["availability"] == sellable
    batch = (await api.post("/v1/availability:batchGet", {"skus": ["nope", sku]})).ok()
    assert (batch["availabilities"], batch["unknownSkus"]) == ([sellable], ["nope"])
    async with front.client("") as stranger:
        shown = (await stranger.get(f"/v1/storefront/skus/{quote(sku, safe='')}/availability")).ok()
        ASKED.update(stranger.asked)
    assert shown == {"sku": sku, "channel": "default", "status": "STOCK_STATUS_IN_STOCK", "quantityCapped": "7"}


async def first_delta(events: AsyncIterator[Event]) -> Event:
    """The next event that says more than that the stream lives."""
    while (event := await anext(events)).name == "progress":
        pass
    return event


async def test_watch(api: CheckingClient, front: Front) -> None:
    sku = await make_goods(api, 4)
    target = f"/v1/stock:watch?filter.skus={sku}"
    watcher = front.client()
    async with asyncio.timeout(STREAM_SECONDS_MAX), contextlib.aclosing(watcher.events(target)) as events:
        begun = [await anext(events) for _ in range(3)]
        (await api.post("/v1/stock:receive", {"lines": [line(sku, 2)]})).ok()
        delta = await first_delta(events)
    assert [event.name for event in begun] == ["snapshot"] * 3
    assert [level["available"] for level in begun[0].data["snapshot"]["levels"]] == ["4"]
    assert [each["sellable"] for each in begun[1].data["snapshot"]["sellable"]] == ["4"]
    assert "snapshotComplete" in begun[2].data
    changed = delta.data["deltas"]["deltas"]
    assert (delta.name, delta.id) == ("delta", delta.data["position"]["resumeToken"])
    assert [each["level"]["after"]["onHand"] for each in changed if "level" in each] == ["6"]
    (await api.post("/v1/stock:receive", {"lines": [line(sku, 1)]})).ok()
    resumed = watcher.events(target, last_event_id=delta.id)
    async with asyncio.timeout(STREAM_SECONDS_MAX), contextlib.aclosing(resumed) as events:
        later = await first_delta(events)
    assert [each["sellable"]["after"] for each in later.data["deltas"]["deltas"] if "sellable" in each] == ["7"]
    assert_events_documented("InventoryService.WatchStock", [*begun, delta, later])
    ASKED.add("InventoryService.WatchStock")


@pytest.mark.parametrize("log", ["stock", "promo", "profiles"])
async def test_verify(api: CheckingClient, log: str) -> None:
    await make_goods(api)
    reply = await api.post(f"/v1/{log}:verify", {})
    steps = [
        json.loads(part.rpartition("data: ")[2]) for part in reply.body.decode().removesuffix("\n\n").split("\n\n")
    ]
    assert [problem for step in steps for problem in step["problems"]] == []
    assert [step["done"] for step in steps] == [False] * (len(steps) - 1) + [True]


async def test_reservations(api: CheckingClient) -> None:
    sku = await make_goods(api, 20)
    body = {"requestId": new_id(), "lines": [line(sku, 2)], "ttl": "600s", "channel": "default"}
    held = (await api.post("/v1/reservations", body)).ok()
    assert held.keys() == {"reservationId", "expireTime", "revision"}
    assert (await api.post("/v1/reservations", body)).ok() == held
    plain = (await api.post("/v1/reservations", {"requestId": new_id(), "lines": [line(sku, 3)]})).ok()
    path = f"/v1/reservations/{held['reservationId']}"
    found = (await api.get(path)).ok()["reservation"]
    assert (found["state"], found["expireTime"], found["lines"][0]["quantity"]) == (
        "RESERVATION_STATE_HELD", held["expireTime"], "2",
    )  # fmt: skip
    longer = (await api.post(f"{path}:extend", {"requestId": new_id(), "ttl": HOUR})).ok()
    assert longer["expireTime"] > held["expireTime"]
    (await api.post(f"{path}:commit", {"requestId": new_id(), "orderReference": sku})).ok()
    shipped = (await api.post(f"{path}:ship", {"requestId": new_id(), "lines": [line(sku, 1)]})).ok()
    assert shipped["allocationState"] == "ALLOCATION_STATE_OPEN"
    shipped = (await api.post(f"{path}:ship", {"requestId": new_id()})).ok()
    assert shipped["allocationState"] == "ALLOCATION_STATE_CLOSED"
    (await api.post(f"/v1/reservations/{plain['reservationId']}:release", {"requestId": new_id()})).ok()
    assert await counters(api, sku) == (18, 0, 0)
    ids = [held["reservationId"], plain["reservationId"]]
    path = "/v1/reservations"
    assert codes(await assert_pages(api, path, "reservations", sku=sku), "reservationId") == ids
    rows = await assert_pages(api, path, "reservations", sku=sku, state="RESERVATION_STATE_RELEASED")
    assert codes(rows, "reservationId") == ids[1:]
    rows = await assert_pages(api, path, "reservations", orderReference=sku)
    assert codes(rows, "reservationId") == ids[:1]
    assert await assert_pages(api, path, "reservations", sku=sku, location="NOWHERE") == []


async def test_batch_reserve(api: CheckingClient) -> None:
    sku = await make_goods(api, 5)
    entries = [{"lines": [line(sku, quantity)]} for quantity in (3, 3, 2)]
    found = (await api.post("/v1/reservations:batchReserve", {"requestId": new_id(), "reservations": entries})).ok()
    first, second, third = found["results"]
    assert second["refused"]["reason"] == "INSUFFICIENT_STOCK"
    assert [each["reserved"].keys() for each in (first, third)] == [{"reservationId", "expireTime", "revision"}] * 2
    assert await counters(api, sku) == (5, 5, 0)


async def make_offer(api: CheckingClient, sku: str, **fields: Any) -> tuple[str, str]:
    """A campaign and its promotion: 20 % off this SKU."""
    campaign_id: str = (await api.post("/v1/campaigns", {"name": sku})).ok()["campaign"]["campaignId"]
    offer = {"name": "-20 %", "selector": f"line.sku == '{sku}'", "benefit": {"percentOffBasisPoints": 2000}, **fields}
    made = (await api.post(f"/v1/campaigns/{campaign_id}/promotions", offer)).ok()["promotion"]
    return campaign_id, str(made["promotionId"])


async def test_campaigns(api: CheckingClient) -> None:
    tag = new_id()
    ids = [f"c-{tag}-{number}" for number in range(3)]
    times = [("2001-01-01", "2001-02-01"), ("2001-01-15", "2001-03-01"), ("2001-04-01", "2001-05-01")]
    for campaign_id, (start, end) in zip(ids, times, strict=True):
        body = {
            "requestId": new_id(), "campaignId": campaign_id, "name": "New Year",
            "startTime": f"{start}T00:00:00Z", "endTime": f"{end}T00:00:00Z",
        }  # fmt: skip
        made = (await api.post("/v1/campaigns", body)).ok()
        assert made["campaign"]["campaignId"] == campaign_id
    rows = await assert_pages(api, "/v1/campaigns", "campaigns", activeTime="2001-01-20T00:00:00Z")
    assert codes(rows, "campaignId") == ids[:2]
    rows = await assert_pages(api, "/v1/campaigns", "campaigns", activeTime="2001-02-01T00:00:00Z")
    assert codes(rows, "campaignId") == ids[1:2]
    assert set(ids) <= set(codes(await assert_pages(api, "/v1/campaigns", "campaigns"), "campaignId"))
    running = (await api.post("/v1/campaigns", {"requestId": new_id(), "name": "Now"})).ok()["campaign"]
    assert "endTime" not in running
    ended = (await api.post(f"/v1/campaigns/{running['campaignId']}:end", {"requestId": new_id()})).ok()
    assert (await api.get(f"/v1/campaigns/{running['campaignId']}")).ok()["campaign"] == ended["campaign"]
    assert datetime.fromisoformat(ended["campaign"]["endTime"]) <= datetime.now(UTC) + timedelta(seconds=1)


async def test_promotions_and_coupons(api: CheckingClient) -> None:
    spring = {"requestId": new_id(), "name": "Spring", "startTime": "2100-03-20T00:00:00Z"}  # no other test's business
    path = f"/v1/campaigns/{(await api.post('/v1/campaigns', spring)).ok()['campaign']['campaignId']}"
    offers = [
        {"name": "-20 %", "condition": "cart.quantity > 1", "benefit": {"percentOffBasisPoints": 2000}, "priority": 2},
        {"name": "-5 $", "benefit": {"amountOff": {"minor": "500", "currency": "USD"}}, "needsCoupon": True},
    ]
    made = []
    for offer in offers:
        body = {"requestId": new_id(), "limit": {"total": "60", "perProfile": "1"}, **offer}
        made.append((await api.post(f"{path}/promotions", body)).ok()["promotion"])
    assert await assert_pages(api, f"{path}/promotions", "promotions") == sorted(
        made, key=lambda each: str(each["promotionId"])
    )
    for number, needs_coupon in enumerate(("false", "true")):
        rows = await assert_pages(api, f"{path}/promotions", "promotions", needsCoupon=needs_coupon)
        assert rows == [made[number]]
    rows = await assert_pages(api, f"{path}/promotions", "promotions", promotionIdPrefix=made[0]["promotionId"])
    assert rows == [made[0]]
    assert (await api.get(path)).ok()["promotions"] == [made[1], made[0]]
    stem = new_id().replace("-", "").upper()
    unlocked = {"promotionId": made[1]["promotionId"], "limit": {"total": "1"}}
    body = {"requestId": new_id(), "codes": [f"{stem}-{number}" for number in range(3)], **unlocked}
    assert (await api.post(f"{path}/coupons", body)).ok()["created"] == 3
    assert codes(await assert_pages(api, f"{path}/coupons", "coupons"), "code") == body["codes"]
    rows = await assert_pages(api, f"{path}/coupons", "coupons", codePrefix=f"{stem}-2")
    assert codes(rows, "code") == [f"{stem}-2"]
    assert await assert_pages(api, f"{path}/coupons", "coupons", promotionId=made[0]["promotionId"]) == []
    rows = await assert_pages(api, "/v1/promo/events", "events", promotionId=made[0]["promotionId"])
    assert codes(rows, "kind") == ["promotion_created"]


async def test_carts(api: CheckingClient) -> None:
    sku, dear = await make_goods(api, price_minor=999), await make_goods(api, price_minor=5_000)
    _, promotion_id = await make_offer(api, sku)
    cart = {
        "lines": [
            {"sku": sku, "quantity": "3"},
            {"sku": dear, "quantity": 1, "unitPrice": {"minor": "4000", "currency": "USD"}},
        ],
        "channel": "default",
        "currency": "USD",
        "couponCodes": ["NO-SUCH-CODE"],
        "profileId": "p-walk",
        "context": {"placement": "basket", "experiments": {"colour": "red"}},
    }  # fmt: skip
    found = (await api.post("/v1/carts:evaluate", cart)).ok()
    assert [each["total"]["minor"] for each in found["lines"]] == ["2398", "4000"]  # 2997 - 599.4, half up
    assert [each["priceSource"] for each in found["lines"]] == ["PRICE_SOURCE_LIST", "PRICE_SOURCE_OVERRIDE"]
    assert {name: each["minor"] for name, each in found["totals"].items()} == {
        "subtotal": "6997", "discount": "-599", "total": "6398",
    }  # fmt: skip
    assert codes(found["appliedOffers"], "promotionId") == [promotion_id]
    assert codes(found["rejectedOffers"], "reason") == ["REJECTION_REASON_UNKNOWN_COUPON"]


async def test_redemptions(api: CheckingClient) -> None:
    sku = await make_goods(api)
    _, promotion_id = await make_offer(api, sku)
    offers = {"offers": [{"promotionId": promotion_id}]}
    ids = []
    for profile in ("p-1", "p-2", "p-2"):
        body = {"requestId": new_id(), "profileId": profile, "ttl": HOUR, **offers}
        ids.append((await api.post("/v1/redemptions", body)).ok()["redemptionId"])
    for redemption_id in ids[:2]:
        order = {"requestId": new_id(), "orderReference": redemption_id}
        (await api.post(f"/v1/redemptions/{redemption_id}:commit", order)).ok()
    (await api.post(f"/v1/redemptions/{ids[1]}:reverse", {"requestId": new_id()})).ok()
    (await api.post(f"/v1/redemptions/{ids[2]}:release", {"requestId": new_id()})).ok()
    rows = await assert_pages(api, "/v1/redemptions", "redemptions", promotionId=promotion_id)
    assert [(row["redemptionId"], row["state"].removeprefix("REDEMPTION_STATE_")) for row in rows] == [
        (ids[0], "COMMITTED"), (ids[1], "REVERSED"), (ids[2], "RELEASED"),
    ]  # fmt: skip
    assert (await api.get(f"/v1/redemptions/{ids[0]}")).ok()["redemption"] == rows[0]
    only = {"promotionId": promotion_id, "profileId": "p-2", "state": "REDEMPTION_STATE_RELEASED"}
    assert await assert_pages(api, "/v1/redemptions", "redemptions", **only) == [rows[2]]


async def test_profiles(api: CheckingClient) -> None:
    tag = f"t-{new_id()}"
    ids = sorted(f"p-{new_id()}" for _ in range(3))
    for profile_id in ids:
        body = {"requestId": new_id(), "tags": ["vip", tag]}
        made = (await api.ask("PUT", f"/v1/profiles/{profile_id}", body)).ok()
        assert (made["created"], made["profile"]["tags"]) == (True, sorted(["vip", tag]))
    assert codes(await assert_pages(api, "/v1/profiles", "profiles", tag=tag), "profileId") == ids
    assert (await api.ask("PUT", f"/v1/profiles/{ids[0]}", {"requestId": new_id(), "tags": []})).ok()[
        "created"
    ] is False
    assert codes(await assert_pages(api, "/v1/profiles", "profiles", tag=tag), "profileId") == ids[1:]
    found = (await api.get(f"/v1/profiles/{ids[0]}")).ok()["profile"]
    assert (found["tags"], found["orderCount"]) == ([], "0")


async def test_purchases(api: CheckingClient) -> None:
    path = f"/v1/profiles/p-{new_id()}/purchases"
    total = {"minor": "1000", "currency": "USD"}
    ids = []
    for number, channel in enumerate(("default", "app", "default")):
        bought = {"lines": [{"sku": f"s{number}", "quantity": "1", "total": total}], "channel": channel, "total": total}
        made = (await api.post(path, {"requestId": new_id(), "orderReference": f"o{number}", **bought})).ok()
        assert made["orderCount"] == str(number + 1)
        ids.append(made["purchaseId"])
    assert codes(await assert_pages(api, path, "purchases"), "purchaseId") == ids[::-1]
    assert codes(await assert_pages(api, path, "purchases", channel="app"), "purchaseId") == ids[1:2]
    assert codes(await assert_pages(api, path, "purchases", sku="s2"), "purchaseId") == ids[2:]


async def test_checkouts(api: CheckingClient) -> None:
    sku = await make_goods(api, 10)
    _, promotion_id = await make_offer(api, sku)
    profile_id = f"p-{new_id()}"
    body = {"requestId": new_id(), "lines": [line(sku, 2)], "ttl": HOUR, "channel": "default", "profileId": profile_id}
    opened = (await api.post("/v1/checkouts", body)).ok()["checkout"]
    assert opened["state"] == "CHECKOUT_STATE_OPEN"
    assert {name: each["minor"] for name, each in opened["totals"].items()} == {
        "subtotal": "2000", "discount": "-400", "total": "1600",
    }  # fmt: skip
    assert [each["promotionId"] for each in opened["lines"][0]["adjustments"]] == [promotion_id]
    path = f"/v1/checkouts/{opened['checkoutId']}"
    assert (await api.get(path)).ok()["checkout"] == opened
    order = {"requestId": new_id(), "orderReference": f"o-{sku}", "paymentReference": "pay-1"}
    sold = (await api.post(f"{path}:confirm", order)).ok()["checkout"]
    assert (sold["state"], sold["orderReference"]) == ("CHECKOUT_STATE_CONFIRMED", f"o-{sku}")
    dropped = await open_checkout(api, sku, profileId=profile_id)
    gone = (await api.post(f"/v1/checkouts/{dropped['checkoutId']}:cancel", {"requestId": new_id()})).ok()["checkout"]
    assert gone["state"] == "CHECKOUT_STATE_CANCELLED"
    assert await counters(api, sku) == (10, 0, 2)
    ids = [dropped["checkoutId"], opened["checkoutId"]]
    rows = await assert_pages(api, "/v1/checkouts", "checkouts", profileId=profile_id)
    assert codes(rows, "checkoutId") == ids
    only = {"profileId": profile_id, "state": "CHECKOUT_STATE_CONFIRMED"}
    assert await assert_pages(api, "/v1/checkouts", "checkouts", **only) == [rows[1]]
    assert await assert_pages(api, "/v1/checkouts", "checkouts", orderReference=f"o-{sku}") == [rows[1]]
    (purchase,) = (await api.get(f"/v1/profiles/{profile_id}/purchases")).ok()["purchases"]
    assert (purchase["purchaseId"], purchase["total"]["minor"]) == (opened["checkoutId"], "1600")


OWN_PAGES: Final = {
    "/openapi.json": ("application/json", '"openapi":"3.1.0"'),
    "/docs": ("text/html; charset=utf-8", "CheckoutService.CreateCheckout"),
    "/healthz": ("text/plain; charset=utf-8", "ok\n"),
    "/readyz": ("application/json", '"ready"'),
    "/metrics": ("text/plain", "# HELP "),
    "/.well-known/jwks.json": ("application/jwk-set+json", '"kty"'),
}


@pytest.mark.parametrize("path", OWN_PAGES)
async def test_own_pages_need_no_token(front: Front, path: str) -> None:
    content_type, said = OWN_PAGES[path]
    async with front.client("") as stranger:
        page = await stranger.get(path)
        assert page.status == 200
        assert page.headers["content-type"].startswith(content_type)
        assert said in page.body.decode()
        head = await stranger.ask("HEAD", path)
        assert (head.status, head.body, head.headers["content-type"]) == (200, b"", page.headers["content-type"])
        if "etag" in page.headers:
            assert (await stranger.get(path, if_none_match=page.headers["etag"])).status == 304
