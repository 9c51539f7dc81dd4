"""The service in this process behind a real server, its clients, and requests that are right, to be bent by tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from google.protobuf.message import Message

from beautymesh.common.v1 import money_pb2
from beautymesh.profile.v1 import profile_pb2, service_pb2_grpc
from meshkit.core.clock import SystemClock
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.rpc.tokens import Keys, ServiceTokens, TokenIssuer, TokenVerifier
from meshkit.service import Runtime
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from profile_svc.bootstrap import build
from profile_svc.rpc.service import DESCRIPTOR
from profile_svc.settings import ProfileSettings
from tests.channels import connected

if TYPE_CHECKING:
    Stub: TypeAlias = service_pb2_grpc.ProfileServiceAsyncStub  # exists for type checkers only
else:
    Stub = service_pb2_grpc.ProfileServiceStub

ISSUER: Final = "beautymesh"
SCOPES: Final = frozenset(f"profile.{each}" for each in ("read", "write", "facts.read", "purchase.write", "audit"))


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    target: str
    keys: Keys

    @asynccontextmanager
    async def client(
        self,
        *,
        name: str = "client:test",
        scopes: frozenset[str] = SCOPES,
        channels: frozenset[str] = frozenset(),
        through_edge: bool = False,
    ) -> AsyncIterator[Stub]:
        """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        token = issuer.issue(subject=f"user:{name}", client_id=name, scopes=scopes, channels=channels)
        if through_edge:
            principal = Principal(f"user:{name}", name, scopes, channels)
            token = ServiceTokens(issuer, service="edge").token_for(principal)
        async with connected(self.target, token=lambda: token) as channel:
            yield service_pb2_grpc.ProfileServiceStub(channel)


@asynccontextmanager
async def serving(database_url: str, keys: Keys) -> AsyncIterator[Service]:
    """What `python -m profile_svc serve` is made of, on this loop."""
    runtime = Runtime(
        settings=ProfileSettings(database_url=database_url),
        clock=SystemClock(),
        metrics=Metrics(),
        tracing=Tracing(),
        verifier=TokenVerifier(keys.jwks_file, issuer=ISSUER),
        service_tokens=None,
    )
    async with build(runtime) as parts:
        server = MeshServer(
            parts.servicers,
            listen="127.0.0.1:0",
            interceptors=Interceptors(
                verifier=runtime.verifier,
                metrics=runtime.metrics,
                tracing=runtime.tracing,
                deadline_seconds_default=10.0,
                deadline_margin_seconds=0.002,
            ),
            health=Health(services=(DESCRIPTOR.full_name,), checks=parts.checks, metrics=runtime.metrics),
        )
        await server.start()
        tasks = [asyncio.create_task(_of(task)) for task in parts.tasks]
        try:
            yield Service(f"127.0.0.1:{server.port}", keys)
        finally:
            await server.drain(wait_seconds=0.0, grace_seconds=0.0)
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _of(task: Any) -> None:  # noqa: ANN401 — a service's task: whatever awaits
    await task()


def name_of(request: Message) -> str:
    """The RPC that takes this request."""
    return request.DESCRIPTOR.name.removesuffix("Request")


async def send(stub: Stub, request: Message) -> Message:
    """Calls the request's RPC; of a stream the first message."""
    method = DESCRIPTOR.methods_by_name[name_of(request)]
    answer = getattr(stub, method.name)(request, timeout=10)
    if not method.server_streaming:
        return await answer  # type: ignore[no-any-return]  # the RPC's own type
    async for message in answer:
        return message  # type: ignore[no-any-return]  # see above
    raise AssertionError("an empty stream")


async def refusal(stub: Stub, request: Message) -> MeshError:
    """The refusal of a request that must be refused."""
    with pytest.raises(MeshError) as refused:
        await send(stub, request)
    return refused.value


def money(minor: int, currency: str = "EUR") -> money_pb2.Money:
    return money_pb2.Money(minor=minor, currency=currency)


def line(
    sku: str = "LIP-RED", quantity: int = 1, minor: int = 1_200, currency: str = "EUR"
) -> profile_pb2.PurchaseLine:
    return profile_pb2.PurchaseLine(sku=sku, quantity=quantity, total=money(minor, currency))


def upsert(profile_id: str = "ann", *tags: str, **fields: Any) -> profile_pb2.UpsertProfileRequest:  # noqa: ANN401 — a table's
    return profile_pb2.UpsertProfileRequest(
        **{"request_id": new_id(), "profile_id": profile_id, "tags": tags, **fields}
    )


def buy(profile_id: str = "ann", **fields: Any) -> profile_pb2.RecordPurchaseRequest:  # noqa: ANN401 — a table's
    defaults: dict[str, Any] = {
        "request_id": new_id(),
        "profile_id": profile_id,
        "order_reference": "order-1",
        "lines": [line()],
        "total": money(1_699),
    }
    return profile_pb2.RecordPurchaseRequest(**{**defaults, **fields})
