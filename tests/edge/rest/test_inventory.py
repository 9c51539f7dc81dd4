"""REST over the real inventory service: what a shop does, from the request's text to the database and back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from beautymesh.inventory.v1 import inventory_pb2
from edge_gateway.rest.app import RestApp
from edge_gateway.rest.remote import remote_handlers
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.channel import for_caller, grpc_channel
from meshkit.rpc.tokens import ServiceTokens, TokenIssuer, TokenVerifier, ensure_keys
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected
from tests.edge.rest.client import Client
from tests.embedded import Embedded
from tests.processes import ISSUER, Process, Stack, process

INVENTORY = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]


@pytest.fixture(scope="module")
def stack(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A migrated database, the cache, and keys."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    folder: Path = tmp_path_factory.mktemp("inventory")
    return Stack(url, embedded.redis_url, ensure_keys(folder), folder)


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[Process]:
    """The process."""
    with process(stack) as running:
        yield running


@pytest.fixture
async def shop(stack: Stack, service: Process) -> AsyncIterator[Client]:
    """A client of the REST interface in front of it."""
    issuer = TokenIssuer.from_key_file(stack.keys.signing_key_file, issuer=ISSUER)
    tokens = ServiceTokens(issuer, service="edge")
    async with connected(service.target, services=[INVENTORY], token=for_caller(tokens)) as channel:
        app = RestApp(
            [INVENTORY],
            remote_handlers(channel, INVENTORY),
            verifier=TokenVerifier(stack.keys.jwks_file, issuer=ISSUER),
            metrics=Metrics(),
            tracing=Tracing(),
        )
        yield Client(app, stack.token())


@pytest.fixture
async def sku(shop: Client) -> str:
    """A SKU that no other test knows, with 10 units in Berlin."""
    sku = f"S/{new_id()}"
    await done(shop, "/v1/skus:batchUpsert", {"skus": [{"sku": sku, "name": "Rouge à lèvres"}]})
    await done(shop, "/v1/locations:batchUpsert", {"locations": [{"location": "BERLIN", "name": "Berlin"}]})
    lines = [{"sku": sku, "location": "BERLIN", "quantity": 10}]
    await done(shop, "/v1/stock:receive", {"requestId": new_id(), "lines": lines})
    return sku


async def done(shop: Client, path: str, value: Any) -> Any:  # noqa: ANN401 — JSON is anything
    response = await shop.post(path, value)
    assert response.status == 200, response
    return response.json()


def held(sku: str, quantity: int) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "location": "BERLIN", "quantity": str(quantity)}], "ttl": "60s"}


async def sellable(shop: Client, sku: str) -> str:
    response = await shop.get(f"/v1/skus/{sku.replace('/', '%2F')}/availability")
    assert response.status == 200, response
    return str(response.json()["availability"]["sellable"])


async def test_cart_is_held_and_committed(shop: Client, sku: str) -> None:
    reserved = await done(shop, "/v1/reservations", held(sku, 3))
    assert await sellable(shop, sku) == "7"
    reservation = reserved["reservationId"]
    await done(shop, f"/v1/reservations/{reservation}:commit", {"orderReference": "O-1"})
    found = (await shop.get(f"/v1/reservations/{reservation}")).json()["reservation"]
    assert (found["state"], found["orderReference"]) == ("RESERVATION_STATE_COMMITTED", "O-1")


async def test_repeat_under_the_same_key_has_one_effect_and_another_body_is_refused(shop: Client, sku: str) -> None:
    key = {"Idempotency-Key": new_id()}
    first, second = [await shop.post("/v1/reservations", held(sku, 3), headers=key) for _ in range(2)]
    assert (first.status, second.status, first.json()) == (200, 200, second.json())
    assert await sellable(shop, sku) == "7"
    other = await shop.post("/v1/reservations", held(sku, 4), headers=key)
    assert (other.status, other.reason, other.headers["idempotency-key"]) == (
        422,
        "REQUEST_ID_REUSED",
        key["Idempotency-Key"],
    )


async def test_what_the_service_refuses_is_a_problem(shop: Client, sku: str) -> None:
    short = await shop.post("/v1/reservations", held(sku, 11))
    assert (short.status, short.reason) == (409, "INSUFFICIENT_STOCK")
    wrong = await shop.post("/v1/reservations", {"lines": [{"sku": sku, "location": "BERLIN"}]})
    assert (wrong.status, wrong.fields) == (400, ["lines[0].quantity"])
    unknown = await shop.get("/v1/reservations/nope")
    assert (unknown.status, unknown.reason) == (404, "UNKNOWN_RESERVATION")
    page = await shop.get("/v1/skus?pageToken=nope")
    assert (page.status, page.reason) == (400, "INVALID_PAGE_TOKEN")
    foreign = await shop.get("/v1/stock:watch", headers={"Last-Event-ID": "nope"})
    assert (foreign.status, foreign.reason) == (400, "RESUME_TOKEN_INVALID")
    assert await sellable(shop, sku) == "10"


async def test_change_is_seen_on_the_stream_and_resumed_from(shop: Client, sku: str) -> None:
    watched = f"/v1/stock:watch?filter.skus={sku.replace('/', '%2F')}&filter.omitLevels=true"
    async with shop.streaming(watched) as stream:
        await stream.until(lambda response: b"snapshotComplete" in response.body)
        seen = stream.response.events[-1]["id"]
        await done(shop, "/v1/reservations", held(sku, 3))
        await stream.until(lambda response: any(each["event"] == "delta" for each in response.events))
        delta = deltas(stream.response.events)
    async with shop.streaming(watched, headers={"Last-Event-ID": seen}) as resumed:
        await resumed.until(lambda response: any(each["event"] == "delta" for each in response.events))
        assert deltas(resumed.response.events) == delta == [("10", "7")]


def deltas(events: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Before and after of every sellable delta."""
    found = [json.loads(each["data"])["deltas"]["deltas"] for each in events if each["event"] == "delta"]
    return [(each["sellable"]["before"], each["sellable"]["after"]) for deltas in found for each in deltas]


async def test_service_that_is_gone_is_503_with_advice(stack: Stack, service: Process) -> None:
    issuer = TokenIssuer.from_key_file(stack.keys.signing_key_file, issuer=ISSUER)
    async with grpc_channel("127.0.0.1:1", token=for_caller(ServiceTokens(issuer, service="edge"))) as channel:
        app = RestApp(
            [INVENTORY],
            remote_handlers(channel, INVENTORY),
            verifier=TokenVerifier(stack.keys.jwks_file, issuer=ISSUER),
            metrics=Metrics(),
            tracing=Tracing(),
        )
        shop = Client(app, stack.token())
        unary, stream = await asyncio.gather(shop.get("/v1/skus"), shop.get("/v1/stock:watch"))
        assert [(each.status, each.headers["retry-after"]) for each in (unary, stream)] == [(503, "1")] * 2
