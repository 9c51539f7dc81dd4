"""A gRPC server made from service descriptors and plain objects, with all that every service of the mesh has.

A servicer is any object with one method for each RPC, of the same name:

    async def ReserveStock(self, request: ReserveStockRequest, call: Call) -> ReserveStockResponse: ...
    async def WatchStock(self, request: WatchStockRequest, call: Call) -> AsyncGenerator[bytes, None]: ...

Bytes are sent as they are: what is encoded once can be sent to many.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.options import MESSAGE_BYTES_MAX, ContractFault, RpcPolicy, read_policies

Servicer: TypeAlias = tuple[ServiceDescriptor, object]
Drain: TypeAlias = Callable[[], Awaitable[None]]

PENDING_CALLS_MAX: Final = 100_000
"""Calls that grpc may hold before a handler has begun. With its default a burst of 2,000 gave 213 callers a CANCELLED
that nobody caused. Our own queues refuse long before, with RESOURCE_EXHAUSTED and advice."""

PENDING_SECONDS_MAX: Final = 3_600
"""How long grpc may hold such a call. Its default, 30 s, is a CANCELLED before the caller's own deadline."""


class CannotListen(Exception):
    """The address cannot be bound or is not allowed; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `client_ca_file` only clients with a certificate from it are served (mTLS)."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def server_credentials(self) -> grpc.ServerCredentials:
        """Reads them as a server's."""
        client_ca = self.client_ca_file.read_bytes() if self.client_ca_file is not None else None
        pair = (self.key_file.read_bytes(), self.certificate_file.read_bytes())
        return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


@dataclass(frozen=True, slots=True)
class ServerBounds:
    """How long connections live and how often they are probed. grpc adds ± 10 % of jitter to the age by itself."""

    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    connection_age_seconds_max: float = 1800.0
    connection_age_grace_seconds: float = 30.0

    def channel_arguments(self) -> list[tuple[str, int]]:
        """As grpc wants them, together with those that every server of ours has."""
        return [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
            ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
            ("grpc.server_max_unrequested_time_in_server", PENDING_SECONDS_MAX),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1e3)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout_seconds * 1e3)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.max_connection_age_ms", round(self.connection_age_seconds_max * 1e3)),
            ("grpc.max_connection_age_grace_ms", round(self.connection_age_grace_seconds * 1e3)),
            # One port, one process: with address sharing on, a second process would take half of the calls unnoticed.
            ("grpc.so_reuseport", 0),
        ]


class MeshServer:
    """Serves the given services, health and reflection on one address.

    `await start()`, then `await drain()`; both once.
    """

    def __init__(
        self,
        servicers: Sequence[Servicer],
        *,
        listen: str,
        interceptors: Interceptors,
        health: Health,
        bounds: ServerBounds = ServerBounds(),
        tls: TlsFiles | None = None,
        on_drain: Sequence[Drain] = (),
    ) -> None:
        """Checks contract and servicers, and opens nothing yet. `listen` is `host:port`; port 0 takes a free one.

        Raises:
            ContractFault: naming every RPC without scopes, idempotency or implementation.
        """
        self._handlers = _handlers(servicers, interceptors, health)
        self._unknown = interceptors.unknown()
        self._listen = listen
        self._interceptors = interceptors
        self._health = health
        self._bounds = bounds
        self._tls = tls
        self._on_drain = on_drain
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens and serves; `port` is known afterwards.

        Raises:
            CannotListen: if the address is taken or malformed.
        """
        server = grpc.aio.server(options=self._bounds.channel_arguments())
        server.add_generic_rpc_handlers((_Router(self._handlers, self._unknown),))
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(self._listen)
            else:
                self.port = server.add_secure_port(self._listen, self._tls.server_credentials())
        except RuntimeError as error:
            message = f"cannot listen on {self._listen}: the address is taken or not of this machine"
            raise CannotListen(message) from error
        await self._health.start()
        await server.start()
        self._server = server

    async def drain(self, *, wait_seconds: float, grace_seconds: float) -> None:
        """Stops without breaking what runs: NOT_SERVING, a wait for clients to see it, goodbyes, then the calls' end.

        Calls that are still running after `grace_seconds` are cancelled.
        """
        if self._server is None:
            return
        await self._health.drain()
        await asyncio.sleep(wait_seconds)
        await asyncio.gather(*(say_goodbye() for say_goodbye in self._on_drain))
        self._interceptors.end_open_calls()
        server, self._server = self._server, None
        await server.stop(
            grace_seconds
        )  # once only: a second `stop` beside the first crashes the process (grpcio 1.85)


class _Router(grpc.GenericRpcHandler):
    """Finds the handler of a path; one look-up for all services."""

    def __init__(
        self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]], unknown: grpc.RpcMethodHandler[Any, Any]
    ) -> None:
        self._handlers = handlers
        self._unknown = unknown

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _handlers(
    servicers: Sequence[Servicer], interceptors: Interceptors, health: Health
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    policies = read_policies(tuple(descriptor for descriptor, _ in servicers))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    faults: list[str] = []
    for descriptor, servicer in servicers:
        for method in descriptor.methods:
            policy = policies[f"/{descriptor.full_name}/{method.name}"]
            implementation: Any = getattr(servicer, method.name, None)
            fault = _implementation_fault(method, implementation)
            if fault:
                faults.append(f"{policy.name}: {type(servicer).__name__}.{method.name} {fault}")
            else:
                handlers[policy.full_method] = _handler(interceptors, policy, method, implementation)
    if faults:
        raise ContractFault("servicers do not implement the contract:\n  " + "\n  ".join(faults))
    names = [descriptor.full_name for descriptor, _ in servicers]
    handlers.update(_open_handlers(interceptors, health, names))
    return handlers


def _implementation_fault(method: MethodDescriptor, implementation: object) -> str:
    if implementation is None:
        return "is missing"
    if method.server_streaming and not inspect.isasyncgenfunction(implementation):
        return "is not an async generator"
    if not method.server_streaming and not inspect.iscoroutinefunction(implementation):
        return "is not an async method"
    return ""


def _handler(
    interceptors: Interceptors,
    policy: RpcPolicy,
    method: MethodDescriptor,
    implementation: Callable[..., Any],
) -> grpc.RpcMethodHandler[Any, Any]:
    request_class = message_factory.GetMessageClass(method.input_type)
    wrap = interceptors.stream if method.server_streaming else interceptors.unary
    return wrap(policy, request_class, implementation)


def _open_handlers(
    interceptors: Interceptors, health: Health, names: list[str]
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Health and reflection: their generated code registers with a stand-in that only takes the handlers down."""
    services: list[Any] = [
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    taken: Any = _HandlersTaken()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, taken)
    visible = [*names, *(service.full_name for service in services)]
    reflection_servicer = reflection.aio.ReflectionServicer(visible)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection_servicer, taken)  # type: ignore[no-untyped-call]  # untyped there
    opened: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for policy in read_policies(services).values():
        handler = taken.by_service[policy.service][policy.name.rpartition("/")[2]]
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
        # What their servicers leave out (Health.List) is a synchronous stub that only raises: for us it does not exist.
        if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
            opened[policy.full_method] = interceptors.open(policy, handler)
    return opened


class _HandlersTaken:
    """Looks like a server to `add_XServicer_to_server`."""

    def __init__(self) -> None:
        self.by_service: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same handlers again, behind a path look-up that we do ourselves."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self.by_service[service] = handlers
