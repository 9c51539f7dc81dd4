"""A gRPC channel to a service of the mesh: to all its processes, always with a deadline, with `MeshError`s as errors.

Generated stubs take it like any other channel. A unary call returns an awaitable, a server stream an async iterator
with `cancel()`.
"""
# ruff: noqa: ANN401 — at this seam messages are of any type: grpc's own signatures say so

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from meshkit.core.errors import DeadlineExceeded
from meshkit.core.principal import ANONYMOUS
from meshkit.rpc.call import current_call
from meshkit.rpc.metrics import CLIENT_DURATION
from meshkit.rpc.options import MESSAGE_BYTES_MAX, read_policies
from meshkit.rpc.status import DETAILS_BYTES_KEY, DETAILS_BYTES_MAX, from_rpc_error
from meshkit.rpc.tokens import ServiceTokens
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import current_traceparent

METADATA_BYTES_MAX: Final = DETAILS_BYTES_MAX * 4 // 3 + 8 * 1024
"""What we take as metadata: the largest error details as base64, and what grpc allows for all else."""

CONNECT_MS_MAX: Final = 2_000
"""A handshake over continents takes 0.6 s; one with a process that hangs holds up the calls that wait for it."""

DEADLINE_SECONDS_DEFAULT: Final = 10.0

DEADLINE_MARGIN_SECONDS: Final = 0.005
"""What a call keeps of its own caller's time when it calls others: enough to turn their answer into its own."""

_DEADLINE_STEPS: Final = ((1.0, 0.001), (10.0, 0.01), (100.0, 0.1))
"""The steps in which gRPC tells a server how much time is left, by the time that they apply below; then whole seconds.

It rounds up. A server that believes in up to 1 % more time than there is answers too late to be heard.
"""

RETRY_POLICY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""Safe for every RPC of the mesh: each is read-only or idempotent by `request_id`, else its server does not start."""

RETRY_THROTTLING: Final = {"maxTokens": 100, "tokenRatio": 0.1}
"""Retries stop while more than about one call in ten fails, so that they do not keep a struggling server down."""


def grpc_channel(
    targets: str | Sequence[str],
    *,
    services: Sequence[ServiceDescriptor] = (),
    token: Callable[[], str] | None = None,
    metrics: Metrics | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    deadline_seconds_default: float = DEADLINE_SECONDS_DEFAULT,
) -> MeshChannel:
    """Opens a channel; connects on the first call.

    `targets` are the `host:port` of every process, called in turn, or one name to resolve (`dns:///inventory:50051`).
    Calls to `services` are repeated while the service is unavailable. `token` is asked before each call.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        # The first one is announced to the server, the second one is ours to enforce.
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # In spite of its name, how long an attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS_MAX),
        ("grpc.enable_http_proxy", 0),
        # Channels of one process would otherwise share connections, and the pause after one that failed.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config", json.dumps(_service_config(services))),
    ]
    target = resolvable(targets)
    if credentials is None:
        inner = grpc.aio.insecure_channel(target, options)
    else:
        inner = grpc.aio.secure_channel(target, credentials, options)
    return MeshChannel(inner, token=token, metrics=metrics, deadline_seconds_default=deadline_seconds_default)


def for_caller(tokens: ServiceTokens) -> Callable[[], str]:
    """The token of each outgoing call: on behalf of the call that is being answered, else the service's own."""

    def token() -> str:
        call = current_call.get()
        return tokens.token_for(None if call is None or call.principal is ANONYMOUS else call.principal)

    return token


def resolvable(targets: str | Sequence[str]) -> str:
    """The grpc target of one or several `host:port`.

    Raises:
        ValueError: for several that are not all IPv4, or all IPv6, addresses: only those can be listed.
    """
    listed = [targets] if isinstance(targets, str) else list(targets)
    if len(listed) == 1 and not _version(listed[0]):
        return listed[0]
    versions = {_version(each) for each in listed}
    if len(versions) != 1 or None in versions:
        raise ValueError(f"several targets must all be IPv4 or all IPv6 addresses with a port: {', '.join(listed)}")
    return f"ipv{versions.pop()}:{','.join(listed)}"


def _version(target: str) -> int | None:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _service_config(services: Sequence[ServiceDescriptor]) -> dict[str, object]:
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if services:
        read_policies(services)  # proves that every RPC may be repeated
        names = [{"service": service.full_name} for service in services]
        config["methodConfig"] = [{"name": names, "retryPolicy": RETRY_POLICY}]
        config["retryThrottling"] = RETRY_THROTTLING
    return config


_ANNOUNCED: Final = (DETAILS_BYTES_KEY, str(DETAILS_BYTES_MAX))


class _Outgoing:
    """What every call of a channel gets: deadline, metadata, measurement."""

    def __init__(
        self, *, token: Callable[[], str] | None, metrics: Metrics | None, deadline_seconds_default: float
    ) -> None:
        self._token = token
        self._duration = None if metrics is None else metrics.histogram(CLIENT_DURATION)
        self._default_seconds = deadline_seconds_default

    def timeout_seconds(self, asked_seconds: float | None) -> float:
        """What is asked for, but no more than the call that is being answered has left.

        Raises:
            DeadlineExceeded: if that has nothing left.
        """
        timeout = self._default_seconds if asked_seconds is None else asked_seconds
        call = current_call.get()
        if call is None or call.deadline is None:
            return _tellable(timeout)
        left = call.deadline - asyncio.get_running_loop().time() - DEADLINE_MARGIN_SECONDS
        if left <= 0:
            raise DeadlineExceeded("no time is left to ask another service")
        return _tellable(min(timeout, left))

    def metadata(self, extra: Any) -> list[tuple[str, str | bytes]]:
        found = [*(extra or ()), _ANNOUNCED]
        if self._token is not None:
            found.append(("authorization", f"Bearer {self._token()}"))
        traceparent = current_traceparent()
        if traceparent:
            found.append(("traceparent", traceparent))
        return found

    def observe(self, method: str, code: str, begun: float) -> None:
        if self._duration is not None:
            self._duration.labels(method, code).observe(perf_counter() - begun)


class _Unary:
    """Calls one unary method."""

    def __init__(self, method: str, inner: Any, outgoing: _Outgoing) -> None:
        self._method = method.removeprefix("/")
        self._inner = inner
        self._outgoing = outgoing

    async def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 — generated stubs call it so
        metadata: Any = None,
        wait_for_ready: bool | None = None,
    ) -> Any:
        outgoing = self._outgoing
        code, begun = "OK", perf_counter()
        try:
            return await self._inner(
                request,
                timeout=outgoing.timeout_seconds(timeout),
                metadata=outgoing.metadata(metadata),
                wait_for_ready=wait_for_ready,
            )
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            raise from_rpc_error(error) from error
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            outgoing.observe(self._method, code, begun)


class _Streaming:
    """Calls one method that streams its answer."""

    def __init__(self, method: str, inner: Any, outgoing: _Outgoing) -> None:
        self._method = method.removeprefix("/")
        self._inner = inner
        self._outgoing = outgoing

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, wait_for_ready: bool | None = None
    ) -> ReplyStream:
        # A stream outlives the call that opens it, so only a deadline that is asked for applies.
        call = self._inner(
            request, timeout=timeout, metadata=self._outgoing.metadata(metadata), wait_for_ready=wait_for_ready
        )
        return ReplyStream(self._method, call, self._outgoing)


class ReplyStream:
    """The messages of a server stream. Whoever leaves the loop early calls `cancel()`."""

    def __init__(self, method: str, call: Any, outgoing: _Outgoing) -> None:
        """Made by the channel."""
        self._method = method
        self._call = call
        self._outgoing = outgoing

    def cancel(self) -> None:
        """Ends the stream, also for whoever reads it, without an error; the server's handler is cancelled."""
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Message by message.

        Raises:
            MeshError: what the server ended the stream with.
        """
        code, begun = "OK", perf_counter()
        try:
            async for message in self._call:
                yield message
        except asyncio.CancelledError:
            code = "CANCELLED"
            # grpc raises this for `cancel()` too; a reader that nobody cancels must not take it for its own end.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            raise from_rpc_error(error) from error
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            self._call.cancel()
            self._outgoing.observe(self._method, code, begun)


class MeshChannel(grpc.aio.Channel):
    """A `grpc.aio.Channel` whose unary and server-streaming calls are ours; all else is passed on."""

    def __init__(
        self,
        inner: grpc.aio.Channel,
        *,
        token: Callable[[], str] | None,
        metrics: Metrics | None,
        deadline_seconds_default: float,
    ) -> None:
        """Use `grpc_channel`."""
        self._inner = inner
        self._outgoing = _Outgoing(token=token, metrics=metrics, deadline_seconds_default=deadline_seconds_default)

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """One request, one answer: `await stub.Method(request)`."""
        return _Unary(method, self._inner.unary_unary(method, *arguments, **named), self._outgoing)

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """One request, many answers: `async for reply in stub.Method(request)`."""
        return _Streaming(method, self._inner.unary_stream(method, *arguments, **named), self._outgoing)

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """As grpc's own: no RPC of the mesh streams requests."""
        return self._inner.stream_unary(method, *arguments, **named)

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """As grpc's own: only reflection streams both ways."""
        return self._inner.stream_stream(method, *arguments, **named)

    async def close(self, grace: float | None = None) -> None:
        """Ends all calls, after `grace` seconds if given."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 — grpc's
        """As grpc's own."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As grpc's own."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Waits until a connection stands."""
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        """The channel itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        await self._inner.close()


def _tellable(seconds: float) -> float:
    """Rounded down to what gRPC can tell the server."""
    step = next((step for below, step in _DEADLINE_STEPS if seconds < below), 1.0)
    return math.floor(seconds / step) * step
