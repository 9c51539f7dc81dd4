"""The cached reads behind the transcoder, and the storefront over gRPC."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.message import Message

from beautymesh.edge.v1 import service_pb2_grpc, storefront_pb2
from beautymesh.inventory.v1 import availability_pb2
from edge_gateway.clients.availability import AvailabilityCache
from edge_gateway.clients.storefront import Storefront
from edge_gateway.rest.app import RestApp
from edge_gateway.rest.availability import GET, INVENTORY, STOREFRONT, availability_handlers
from edge_gateway.rest.exchange import Answer, Exchange, UnaryHandler
from edge_gateway.rest.remote import remote_handlers
from edge_gateway.rpc.storefront import StorefrontServicer
from meshkit.core.errors import MeshError
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.rpc.tokens import TokenIssuer, TokenVerifier, ensure_keys
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected
from tests.edge.availability.fake import LOG, Inventory, cache_of, delta, row, running

TAG = LOG[-12:]


@dataclass
class Web:
    """The app, and a token for it."""

    app: RestApp
    cache: AvailabilityCache
    inventory: Inventory
    token: str
    service_says: list[availability_pb2.GetAvailabilityResponse] = field(default_factory=list)
    """To GetAvailability, one after the other. Else the service is gone."""

    async def get(self, path: str, *, token: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        sent += [(b"authorization", f"Bearer {token}".encode())] if token else []
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": sent,
        }
        said: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            said.append(message)

        await self.app(scope, receive, send)
        start, body = said
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], found, body["body"]


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    keys = ensure_keys(tmp_path)
    verifier = TokenVerifier(keys.jwks_file, issuer="test")
    issuer = TokenIssuer.from_key_file(keys.signing_key_file, issuer="test")
    inventory = Inventory()
    cache = cache_of(inventory)
    async with running(cache), grpc_channel("127.0.0.1:1") as nobody:
        await inventory.tell(cache, 7)
        inventory.answer_when_asked(0, row("A/1", 8, 5), revision=7)
        await cache.get("A/1", "default")
        remote = remote_handlers(nobody, INVENTORY)
        gone = cast("UnaryHandler", remote[GET])
        says: list[availability_pb2.GetAvailabilityResponse] = []

        async def get(request: Message, exchange: Exchange) -> Message | Answer:
            return says.pop(0) if says else await gone(request, exchange)

        remote[GET] = get
        handlers = remote | availability_handlers(cache, Storefront(cache), remote)
        app = RestApp([INVENTORY, STOREFRONT], handlers, verifier=verifier, metrics=Metrics(), tracing=Tracing())
        token = issuer.issue(subject="user:ann", client_id="shop", scopes=frozenset({"inventory.read"}))
        yield Web(app, cache, inventory, token, says)


async def test_a_read_from_memory_needs_the_scope_and_is_kept_by_its_tag(web: Web) -> None:
    path = "/v1/skus/A%2F1/availability"
    assert (await web.get(path))[0] == 401
    status, headers, body = await web.get(path, token=web.token)
    assert (status, json.loads(body)["availability"]["sellable"]) == (200, "8")
    assert (headers["etag"], headers["age"], headers["cache-control"]) == (f'"{TAG}-5-8"', "0", "private, no-cache")
    status, headers, body = await web.get(path, token=web.token, if_none_match=headers["etag"])
    assert (status, body, headers["etag"]) == (304, b"", f'"{TAG}-5-8"')

    await web.inventory.tell(web.cache, 8, delta("B", 1, 8))
    assert (await web.get(path, token=web.token, if_none_match=headers["etag"]))[0] == 304
    await web.inventory.tell(web.cache, 9, delta("A/1", 7, 9))
    status, headers, body = await web.get(path, token=web.token, if_none_match=headers["etag"])
    assert (status, headers["etag"], json.loads(body)["revision"]) == (200, f'"{TAG}-9-7"', "9")


async def test_no_cache_goes_to_the_service_which_is_gone_here(web: Web) -> None:
    path = "/v1/skus/A%2F1/availability"
    assert (await web.get(path, token=web.token, cache_control="no-cache"))[0] == 503
    assert (await web.get(f"{path}?minRevision=3", token=web.token))[0] == 503
    assert (await web.get(path, token=web.token))[0] == 200


async def test_an_answer_of_memory_is_revalidated_with_the_service_and_the_other_way_round(web: Web) -> None:
    path = "/v1/skus/A%2F1/availability"
    response = availability_pb2.GetAvailabilityResponse(availability=row("A/1", 8, 5), revision=7)
    web.service_says += [response] * 3
    _, memory, _ = await web.get(path, token=web.token)
    status, service, body = await web.get(path, token=web.token, cache_control="no-cache")
    assert (status, json.loads(body)["revision"], service["etag"]) == (200, "7", memory["etag"])
    known = {"token": web.token, "if_none_match": memory["etag"]}
    assert [
        (await web.get(path, **known, cache_control="no-cache"))[0],
        (await web.get(f"{path}?minRevision=7", **known))[0],
        (await web.get(path, **known))[0],
    ] == [304] * 3
    assert web.service_says == []


async def test_anybody_may_ask_the_storefront_and_keep_its_answer(web: Web) -> None:
    path = "/v1/storefront/skus/A%2F1/availability"
    status, headers, body = await web.get(path)
    assert (status, json.loads(body)["quantityCapped"], headers["etag"]) == (200, "8", f'"{TAG}-1-8"')
    assert headers["cache-control"].startswith("public")
    assert (await web.get(path, if_none_match=headers["etag"]))[0] == 304


async def test_the_storefront_answers_grpc_without_a_token(web: Web) -> None:
    metrics = Metrics()
    server = MeshServer(
        [(STOREFRONT, StorefrontServicer(Storefront(web.cache, low_threshold=8, quantity_cap=3)))],
        listen="127.0.0.1:0",
        interceptors=Interceptors(verifier=None, metrics=metrics, tracing=Tracing()),
        health=Health(services=(STOREFRONT.full_name,), checks={"inventory stream": web.cache.check}, metrics=metrics),
    )
    await server.start()
    try:
        async with connected(f"127.0.0.1:{server.port}") as channel:
            stub = service_pb2_grpc.StorefrontServiceStub(channel)
            request = storefront_pb2.GetStorefrontAvailabilityRequest
            assert await stub.GetStorefrontAvailability(
                request(sku="A/1")
            ) == storefront_pb2.GetStorefrontAvailabilityResponse(
                sku="A/1", channel="default", status=storefront_pb2.STOCK_STATUS_LOW, quantity_capped=3
            )
            web.inventory.answer_when_asked(1, revision=7, unknown="X")
            with pytest.raises(MeshError) as refused:
                await stub.GetStorefrontAvailability(request(sku="X"))
            assert refused.value.reason == "UNKNOWN_SKU"
    finally:
        await server.drain(wait_seconds=0, grace_seconds=1)
