from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from meshkit.http import STOP_SECONDS_MAX, HttpServer
from meshkit.rpc.health import Finding
from meshkit.telemetry.admin import admin_app
from meshkit.telemetry.metrics import CounterSpec, HistogramSpec, Metrics

SOLD = CounterSpec("units_sold_total", "Units sold.", ("channel",))


@dataclass
class Readiness:
    ready: bool = True
    findings: list[Finding] = field(default_factory=list)


async def get(server: HttpServer, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(" ", 2)[1]), body


async def test_pages_answer_and_stop_does_not_wait_for_an_open_connection() -> None:
    metrics, readiness = Metrics(), Readiness()
    metrics.counter(SOLD).labels("web").inc(3)
    server = HttpServer(admin_app(metrics, readiness), listen="127.0.0.1:0", name="admin port")
    await server.start()
    assert await get(server, "/healthz") == (200, "ok\n")
    status, page = await get(server, "/metrics")
    assert status == 200
    assert 'units_sold_total{channel="web"} 3.0' in page.splitlines()
    readiness.findings = [Finding("database", 0.0015), Finding("redis", 2.0, "no answer within 2 s")]
    readiness.ready = False
    status, page = await get(server, "/readyz")
    assert status == 503
    assert json.loads(page) == {
        "ready": False,
        "dependencies": {
            "database": {"ready": True, "latency_ms": 1.5},
            "redis": {"ready": False, "latency_ms": 2000.0, "fault": "no answer within 2 s"},
        },
    }
    _, idle = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(STOP_SECONDS_MAX + 1):
        await server.stop()
    idle.close()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_taken_address_is_an_error() -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await HttpServer(admin_app(Metrics(), Readiness()), listen=f"127.0.0.1:{port}", name="admin port").start()
    taken.close()
    await taken.wait_closed()


def test_declaration_gives_one_metric_however_often_it_is_asked_for() -> None:
    metrics = Metrics()
    assert metrics.counter(SOLD) is metrics.counter(SOLD)


def test_one_name_cannot_be_two_types() -> None:
    metrics = Metrics()
    metrics.counter(SOLD)
    with pytest.raises(AssertionError, match="units_sold_total is declared twice"):
        metrics.histogram(HistogramSpec("units_sold_total", "Other."))
