"""How a service process lives: settings, loop, servers, tasks, signals, drain, exit code.

    start → checks → serve ── SIGTERM/SIGINT → NOT_SERVING → wait → goodbyes → calls end → tasks end → exit 0
                            └ a task dies → logged → the same way down → exit 1 (the supervisor starts it again)

A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Generic, NoReturn, TypeAlias, TypeVar

import structlog
import uvloop

from meshkit.core.clock import Clock, SystemClock
from meshkit.core.errors import MeshError
from meshkit.core.logging import configure_logging
from meshkit.core.settings import ServiceSettings, SettingsFault
from meshkit.http import HttpServer
from meshkit.rpc.health import Check, Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.options import ContractFault
from meshkit.rpc.server import CannotListen, Drain, MeshServer, ServerBounds, Servicer, TlsFiles
from meshkit.rpc.tokens import ServiceTokens, TokenIssuer, TokenVerifier
from meshkit.telemetry.admin import admin_app
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.process import watch_loop_lag, watch_process
from meshkit.telemetry.tracing import Tracing, current_traceparent

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)
Task: TypeAlias = Callable[[], Awaitable[None]]

_log = structlog.get_logger("meshkit.service")

_OPEN_FILES: Final = 16_384
"""Enough for every connection that an HTTP server takes, and the rest of a process."""

_START_FAULTS: Final = (SettingsFault, ContractFault, CannotListen, MeshError, OSError)
"""What an operator can mend: said in one line, without a stack trace."""


@dataclass(frozen=True, slots=True)
class Runtime(Generic[SettingsT]):
    """What a service's `build` is given. Without a signing key `service_tokens` is None: the service calls nobody."""

    settings: SettingsT
    clock: Clock
    metrics: Metrics
    tracing: Tracing
    verifier: TokenVerifier | None
    service_tokens: ServiceTokens | None


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What a service's `build` gives back. `tasks` run until cancelled; one that ends or fails ends the process.

    `http` makes the server of the service's own HTTP interface, if it has one, from what its probes ask. It takes
    requests while the gRPC server does; `on_drain` ends its streams.
    """

    servicers: Sequence[Servicer] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    on_drain: Sequence[Drain] = ()
    http: Callable[[Health], HttpServer] | None = None


Build: TypeAlias = Callable[[Runtime[SettingsT]], AbstractAsyncContextManager[ServiceParts]]


class TaskEnded(Exception):
    """A background task returned, which none may before it is cancelled."""


def run(settings: SettingsT, build: Build[SettingsT]) -> NoReturn:
    """Runs the service until it is told to stop, and exits: 0 after a drain, 1 after a fault."""
    configure_logging(
        level=settings.log_level, service=settings.service, worker=settings.worker, traceparent=current_traceparent
    )
    try:
        exit_code = uvloop.run(serve(settings, build))
    except _START_FAULTS as fault:
        _log.error("cannot start", fault=str(fault))
        exit_code = 1
    sys.exit(exit_code)


async def serve(settings: SettingsT, build: Build[SettingsT]) -> int:
    """The same on a running loop; returns the exit code.

    Raises:
        ContractFault, CannotListen, OSError: if it cannot start.
    """
    stop = _stop_on_signals()
    runtime = _runtime(settings)
    watch_process(runtime.metrics, service=settings.service, worker=settings.worker, version=software_version())
    starting = asyncio.create_task(_cancel_when(stop, asyncio.current_task()))
    try:
        async with build(runtime) as parts:
            starting.cancel()
            _calm_garbage_collection()
            _allow_open_files()
            return await _serve_parts(runtime, parts, stop)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        _log.info("stopped before it had started")
        return 0
    finally:
        starting.cancel()
        # The exporter's last flush blocks on its collector; a thread keeps the loop, and so the second signal, alive.
        await asyncio.to_thread(runtime.tracing.shutdown)


async def _serve_parts(runtime: Runtime[SettingsT], parts: ServiceParts, stop: asyncio.Event) -> int:
    settings = runtime.settings
    services = tuple(descriptor.full_name for descriptor, _ in parts.servicers)
    health = Health(services=services, checks=parts.checks, metrics=runtime.metrics)
    server = _server(runtime, parts, health)
    admin = HttpServer(admin_app(runtime.metrics, health), listen=settings.admin_listen, name="admin port")
    await admin.start()
    try:
        await server.start()
        http = None if parts.http is None else parts.http(health)
        try:
            if http is not None:
                await http.start()
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_run_forever(task))
                    for task in (health.run, lambda: watch_loop_lag(runtime.metrics), *parts.tasks)
                ]
                await health.check_once()
                urls = {"admin": admin.url} if http is None else {"admin": admin.url, "http": http.url}
                _log.info("serving", grpc_port=server.port, pid=os.getpid(), **urls)
                await stop.wait()
                _log.info("draining")
                await server.drain(wait_seconds=settings.drain_wait_seconds, grace_seconds=settings.drain_seconds)
                for each in running:
                    each.cancel()
        except ExceptionGroup as faults:
            for fault in faults.exceptions:
                _log.error("a background task died", exc_info=fault)
            await server.drain(wait_seconds=0.0, grace_seconds=settings.drain_seconds)
            return 1
        finally:
            if http is not None:
                await http.stop()
    finally:
        await admin.stop()
    _log.info("stopped")
    return 0


def _calm_garbage_collection() -> None:
    """Leaves what was loaded at the start out of collections, and makes them rarer.

    A batch makes thousands of objects that are gone when it ends; with the default of 700 the collector walked all
    others many times a second (a reserve cost 436–570 µs of processor time, and 305–375 µs with this).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _allow_open_files() -> None:
    """Every connection is an open file, and the usual limit of 1,024 can be raised without anybody's leave."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _cancel_when(stop: asyncio.Event, task: asyncio.Task[object] | None) -> None:
    """A service may wait long for its database to start; a signal ends that too."""
    await stop.wait()
    if task is not None:
        task.cancel()


async def _run_forever(task: Task) -> None:
    await task()
    raise TaskEnded(f"{getattr(task, '__qualname__', task)} returned")


def _runtime(settings: SettingsT) -> Runtime[SettingsT]:
    clock = SystemClock()
    verifier = tokens = None
    if settings.jwks_file is not None:
        verifier = TokenVerifier(settings.jwks_file, issuer=settings.issuer, clock=clock)
    if settings.signing_key_file is not None:
        issuer = TokenIssuer.from_key_file(settings.signing_key_file, issuer=settings.issuer, clock=clock)
        tokens = ServiceTokens(issuer, service=settings.service, scopes=settings.service_scopes, clock=clock)
    return Runtime(
        settings=settings,
        clock=clock,
        metrics=Metrics(),
        tracing=Tracing.to_endpoint(settings.otlp_endpoint, service=settings.service),
        verifier=verifier,
        service_tokens=tokens,
    )


def _server(runtime: Runtime[SettingsT], parts: ServiceParts, health: Health) -> MeshServer:
    settings = runtime.settings
    tls = None
    if settings.certificate_file is not None and settings.key_file is not None:
        tls = TlsFiles(settings.certificate_file, settings.key_file, settings.client_ca_file)
    return MeshServer(
        parts.servicers,
        listen=settings.grpc_listen,
        interceptors=Interceptors(
            verifier=runtime.verifier,
            metrics=runtime.metrics,
            tracing=runtime.tracing,
            deadline_seconds_default=settings.deadline_seconds_default,
            deadline_margin_seconds=settings.deadline_margin_seconds,
        ),
        health=health,
        bounds=ServerBounds(
            keepalive_seconds=settings.keepalive_seconds,
            keepalive_timeout_seconds=settings.keepalive_timeout_seconds,
            connection_age_seconds_max=settings.connection_age_seconds_max,
            connection_age_grace_seconds=settings.connection_age_grace_seconds,
        ),
        tls=tls,
        on_drain=parts.on_drain,
    )


def _stop_on_signals() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process where it stands."""
    stop = asyncio.Event()

    def heard(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)
    return stop


def software_version() -> str:
    """The version that is installed."""
    try:
        return version("beautymesh-platform")
    except PackageNotFoundError:
        return "unknown"  # run from a tree that is not installed
