"""How a service process begins and ends, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DYING = """
import asyncio
from contextlib import asynccontextmanager
from meshkit.core.settings import ServiceSettings
from meshkit.service import ServiceParts, run

async def die():
    await asyncio.sleep(0.1)
    raise RuntimeError("the worker broke")

@asynccontextmanager
async def build(runtime):
    yield ServiceParts(tasks=[die])

run(ServiceSettings.load(), build)
"""

LIVING = DYING.replace("tasks=[die]", "")
WITH_HTTP = DYING.replace(
    "tasks=[die]", "http=lambda health: HttpServer(app, listen='127.0.0.1:0', name='app')"
).replace(
    "async def die",
    """from meshkit.http import HttpServer

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

async def die""",
)
STUCK = DYING.replace("[die]", "[], on_drain=[asyncio.Event().wait]")


@contextmanager
def process(*arguments: str) -> Generator[subprocess.Popen[str], None, None]:
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line_of(started: subprocess.Popen[str], event: str) -> dict[str, object]:
    assert started.stderr is not None
    for text in started.stderr:
        line: dict[str, object] = json.loads(text)
        if line["event"] == event:
            return line
    raise AssertionError(f"the process ended without saying {event!r}")


def test_service_serves_health_until_it_is_told_to_stop() -> None:
    with process("-c", LIVING) as started:
        line = line_of(started, "serving")
        with grpc.insecure_channel(f"127.0.0.1:{line['grpc_port']}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with urllib.request.urlopen(f"{line['admin']}/readyz", timeout=10) as page:  # noqa: S310 — our own address
            assert json.load(page) == {"ready": True, "dependencies": {}}
        started.send_signal(signal.SIGTERM)
        assert line_of(started, "stopped")["level"] == "info"
        assert started.wait(10) == 0


def test_service_serves_its_own_http_until_it_is_told_to_stop() -> None:
    with process("-c", WITH_HTTP) as started:
        line = line_of(started, "serving")
        with urllib.request.urlopen(str(line["http"]), timeout=10) as page:  # noqa: S310 — our own address
            assert page.read() == b"hello"
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 0


def test_dead_background_task_is_logged_and_ends_the_process_with_1() -> None:
    with process("-c", DYING) as started:
        assert "RuntimeError: the worker broke" in str(line_of(started, "a background task died")["exception"])
        assert started.wait(10) == 1


def test_second_signal_ends_a_drain_that_hangs() -> None:
    with process("-c", STUCK) as started:
        line_of(started, "serving")
        started.send_signal(signal.SIGINT)
        line_of(started, "draining")
        time.sleep(0.3)  # into the goodbye that never returns
        started.send_signal(signal.SIGINT)
        assert started.wait(10) == 128 + signal.SIGINT


def test_wrong_settings_are_said_in_words() -> None:
    environment = {**os.environ, "BEAUTYMESH_PROMO_DRAIN_SECONDS": "soon"}
    command = [sys.executable, "-m", "promo_svc", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "the promo service cannot start:"
    assert "Traceback" not in done.stderr
