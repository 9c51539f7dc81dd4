"""How the process itself is doing: memory, file descriptors, garbage collection, and how late its event loop is."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from meshkit.telemetry.metrics import GaugeSpec, HistogramSpec, Metrics

LOOP_LAG: Final = HistogramSpec(
    "event_loop_lag_seconds",
    "How much later than asked the event loop woke a sleeper: the time that something blocked it.",
)
INFO: Final = GaugeSpec("mesh_process_info", "Always 1; says which process this is.", ("service", "worker", "version"))
METRICS: Final = (LOOP_LAG, INFO)

LAG_INTERVAL_SECONDS: Final = 0.25


def watch_process(metrics: Metrics, *, service: str, worker: int, version: str) -> None:
    """Adds the collectors of process, interpreter and garbage collector, and says which process this is."""
    ProcessCollector(registry=metrics.registry)
    PlatformCollector(registry=metrics.registry)
    GCCollector(registry=metrics.registry)
    metrics.gauge(INFO).labels(service, str(worker), version).set(1)


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measures the loop's lag until cancelled."""
    lag = metrics.histogram(LOOP_LAG)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_SECONDS
        await asyncio.sleep(LAG_INTERVAL_SECONDS)
        lag.observe(max(0.0, loop.time() - due))
