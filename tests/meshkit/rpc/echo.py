"""A service that exists only in tests: its contract is put together here, its server is a real one on loopback."""
# ruff: noqa: ANN401 — messages of a service that is put together at run time have no type

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from beautymesh.options.v1 import options_pb2
from buf.validate import validate_pb2
from meshkit.core.principal import Principal
from meshkit.rpc.call import Call
from meshkit.rpc.channel import MeshChannel
from meshkit.rpc.health import Check, Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import Drain, MeshServer
from meshkit.rpc.tokens import Keys, TokenIssuer, TokenVerifier, ensure_keys
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected, reached

ISSUER: Final = "beautymesh-test"
FIELD: Final = descriptor_pb2.FieldDescriptorProto


def rpc_options(**given: Any) -> descriptor_pb2.MethodOptions:
    options = descriptor_pb2.MethodOptions()
    options.Extensions[options_pb2.rpc].CopyFrom(options_pb2.RpcOptions(**given))
    return options


def service_of(package: str, methods: Sequence[tuple[str, bool, descriptor_pb2.MethodOptions]]) -> ServiceDescriptor:
    """A service whose methods (name, streaming, options) all take an `EchoRequest` and give an `EchoResponse`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.extend(["buf/validate/validate.proto", "beautymesh/options/v1/options.proto"])
    line = file.message_type.add(name="Line")
    quantity = line.field.add(name="quantity", number=1, type=FIELD.TYPE_INT64, label=FIELD.LABEL_OPTIONAL)
    quantity.options.Extensions[validate_pb2.field].int64.gt = 0
    request = file.message_type.add(name="EchoRequest")
    text = request.field.add(name="text", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    text.options.Extensions[validate_pb2.field].string.pattern = r"^[^\x00-\x1f\x7f]*$"
    request.field.add(
        name="lines", number=2, type=FIELD.TYPE_MESSAGE, type_name=f".{package}.Line", label=FIELD.LABEL_REPEATED
    )
    request.field.add(name="filler", number=3, type=FIELD.TYPE_BYTES, label=FIELD.LABEL_OPTIONAL)
    file.message_type.add(name="EchoResponse").field.add(
        name="text", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL
    )
    service = file.service.add(name="EchoService")
    for name, streaming, options in methods:
        service.method.add(
            name=name,
            input_type=f".{package}.EchoRequest",
            output_type=f".{package}.EchoResponse",
            server_streaming=streaming,
            options=options,
        )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return descriptor_pool.Default().FindServiceByName(f"{package}.EchoService")


_READ: Final = {"scopes": ["echo.read"], "idempotency": options_pb2.IDEMPOTENCY_READ_ONLY}

ECHO: Final = service_of(
    "meshtest.echo.v1",
    [
        ("Echo", False, rpc_options(**_READ, body_limit_bytes=65536)),
        ("Greet", False, rpc_options(public=True, idempotency=options_pb2.IDEMPOTENCY_READ_ONLY)),
        ("Follow", True, rpc_options(**_READ)),
    ],
)
EchoRequest: Any = message_factory.GetMessageClass(ECHO.methods_by_name["Echo"].input_type)
EchoResponse: Any = message_factory.GetMessageClass(ECHO.methods_by_name["Echo"].output_type)

Behaviour = Callable[[Any, Call], Awaitable[Any]]
StreamBehaviour = Callable[[Any, Call], AsyncGenerator[Any, None]]


async def say_the_same(request: Any, _call: Call) -> Any:
    return EchoResponse(text=request.text)


async def say_three(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
    yield EchoResponse(text="one")
    yield EchoResponse(text="two").SerializeToString()
    yield EchoResponse(text="three")


@dataclass
class EchoServicer:
    """Does what the test sets."""

    echo: Behaviour = say_the_same
    follow: StreamBehaviour = say_three
    calls: list[Call] = field(default_factory=list)

    async def Echo(self, request: Any, call: Call) -> Any:
        self.calls.append(call)
        return await self.echo(request, call)

    async def Greet(self, request: Any, call: Call) -> Any:
        self.calls.append(call)
        return EchoResponse(text=f"hello {request.text}").SerializeToString()

    async def Follow(self, request: Any, call: Call) -> AsyncGenerator[Any, None]:
        self.calls.append(call)
        async for reply in self.follow(request, call):
            yield reply


class EchoStub:
    """What generated code would look like."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def make(kind: Callable[..., Any], name: str) -> Any:
            return kind(
                f"/{ECHO.full_name}/{name}",
                request_serializer=EchoRequest.SerializeToString,
                response_deserializer=EchoResponse.FromString,
            )

        self.Echo = make(channel.unary_unary, "Echo")
        self.Greet = make(channel.unary_unary, "Greet")
        self.Follow = make(channel.unary_stream, "Follow")
        self.Missing = make(channel.unary_unary, "Missing")


@dataclass
class Stack:
    """A running server and what belongs to it."""

    server: MeshServer
    servicer: EchoServicer
    health: Health
    metrics: Metrics
    keys: Keys
    issuer: TokenIssuer
    token: str

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @asynccontextmanager
    async def channel(self, token: str | None = None) -> AsyncGenerator[MeshChannel, None]:
        shown = self.token if token is None else token
        async with connected(self.target, services=[ECHO], token=lambda: shown, metrics=self.metrics) as channel:
            yield channel

    @asynccontextmanager
    async def bare_channel(self) -> AsyncGenerator[grpc.aio.Channel, None]:
        """Grpc's own, with what this server needs in `metadata` given by hand."""
        async with grpc.aio.insecure_channel(self.target, [("grpc.enable_retries", 0)]) as channel:
            yield await reached(channel)

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    async def until_idle(self) -> None:
        """Waits until no call is being served any more; the test's own limit ends a wait in vain."""
        while "active_calls" in self.busy():  # noqa: ASYNC110 — seen as an operator sees it, by its metrics
            await asyncio.sleep(0.005)

    def busy(self) -> str:
        lines = self.metrics.expose().decode().splitlines()
        return "\n".join(line for line in lines if "active_calls{" in line and not line.endswith(" 0.0"))


@asynccontextmanager
async def echo_stack(
    folder: Path,
    *,
    checks: dict[str, Check] | None = None,
    on_drain: Sequence[Drain] = (),
    tracing: Tracing | None = None,
    deadline_seconds_default: float = 10.0,
    deadline_margin_seconds: float = 0.002,
) -> AsyncGenerator[Stack, None]:
    keys = ensure_keys(folder)
    metrics = Metrics()
    interceptors = Interceptors(
        verifier=TokenVerifier(keys.jwks_file, issuer=ISSUER),
        metrics=metrics,
        tracing=tracing or Tracing(),
        deadline_seconds_default=deadline_seconds_default,
        deadline_margin_seconds=deadline_margin_seconds,
    )
    servicer = EchoServicer()
    health = Health(services=(ECHO.full_name,), checks=checks or {}, metrics=metrics)
    server = MeshServer(
        [(ECHO, servicer)], listen="127.0.0.1:0", interceptors=interceptors, health=health, on_drain=on_drain
    )
    await server.start()
    await health.check_once()
    issuer = TokenIssuer.from_key_file(keys.signing_key_file, issuer=ISSUER)
    token = issuer.issue(subject="user:ada", client_id="webshop", scopes=frozenset({"echo.read"}))
    try:
        yield Stack(server, servicer, health, metrics, keys, issuer, token)
    finally:
        await server.drain(wait_seconds=0.0, grace_seconds=0.0)


def principal(subject: str = "user:ada", scopes: frozenset[str] = frozenset({"echo.read"})) -> Principal:
    return Principal(subject=subject, client_id="webshop", scopes=scopes)
