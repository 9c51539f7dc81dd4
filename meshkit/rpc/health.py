"""Whether a process is ready, decided by asking each dependency every second, and said over grpc.health.v1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final, TypeAlias

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health_aio

from meshkit.core.errors import MeshError
from meshkit.telemetry.metrics import GaugeSpec, Metrics

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Returns if the dependency is usable, raises if not. The first words of what it raises are shown to operators."""

CHECK_INTERVAL_SECONDS: Final = 1.0
CHECK_TIMEOUT_SECONDS: Final = 2.0
"""After this a dependency counts as gone. Longer than a slow commit, shorter than an operator's patience."""

READY: Final = GaugeSpec("dependency_ready", "1 if the dependency answered its last check, else 0.", ("dependency",))
CHECK_SECONDS: Final = GaugeSpec(
    "dependency_check_duration_seconds", "Time that the last check of the dependency took.", ("dependency",)
)
METRICS: Final = (READY, CHECK_SECONDS)

_log = structlog.get_logger("meshkit.health")


@dataclass(frozen=True, slots=True)
class Finding:
    """What the last check of one dependency found; `fault` is empty where it is well."""

    name: str
    duration_seconds: float
    fault: str = ""


class Health:
    """The readiness of this process. Not ready until the first round of checks, and never again once draining."""

    def __init__(self, *, services: tuple[str, ...], checks: Mapping[str, Check], metrics: Metrics) -> None:
        """`services` are the full names whose status follows the checks, beside `""`, the whole process."""
        self.servicer = grpc_health_aio.HealthServicer()
        self._services = ("", *services)
        self._checks = checks
        self._ready_gauge = metrics.gauge(READY)
        self._seconds_gauge = metrics.gauge(CHECK_SECONDS)
        self._findings: tuple[Finding, ...] = ()
        self._ready: bool | None = None
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether all dependencies are well and the process is not draining."""
        return bool(self._ready) and not self._draining

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each dependency, in their order; empty before the first round."""
        return self._findings

    async def check_once(self) -> None:
        """Asks every dependency, all at the same time, and publishes the result."""
        self._findings = tuple(await asyncio.gather(*(self._find(name, check) for name, check in self._checks.items())))
        ready = not any(finding.fault for finding in self._findings)
        if ready != self._ready:
            faults = {finding.name: finding.fault for finding in self._findings if finding.fault}
            if ready:
                _log.info("ready")
            else:
                _log.warning("not ready", faults=faults)
            self._ready = ready
            await self._publish(ready=ready)

    async def run(self) -> None:
        """Checks again and again, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            await self.check_once()

    async def start(self) -> None:
        """Says NOT_SERVING until the first round is done: the servicer's own default would be SERVING."""
        await self._publish(ready=False)

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, whatever the checks find."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def _publish(self, *, ready: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self.servicer.set(service, status)

    async def _find(self, name: str, check: Check) -> Finding:
        begun = perf_counter()
        fault = ""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except TimeoutError:
            fault = f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
        except MeshError as error:
            fault = error.message
        except Exception as error:  # noqa: BLE001 — border: whatever a driver raises, the dependency is gone
            # The class only: a driver's message may hold addresses and credentials, and /readyz shows this.
            fault = type(error).__name__
        finding = Finding(name, perf_counter() - begun, fault)
        self._ready_gauge.labels(name).set(not fault)
        self._seconds_gauge.labels(name).set(finding.duration_seconds)
        return finding
