"""The admin port of a process: `/metrics` for Prometheus, `/healthz` (alive) and `/readyz` (each dependency).

Plain HTTP without a token: whoever reaches the port may read it, so it listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final, Protocol

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshkit.telemetry.metrics import Metrics

STOP_SECONDS_MAX: Final = 0.5
"""How long a scrape may hold up the end of the process."""

_POLL_SECONDS: Final = 0.005


class Finding(Protocol):
    """What the last check of one dependency found; `fault` is empty where it is well."""

    @property
    def name(self) -> str:
        """The dependency."""
        ...

    @property
    def duration_seconds(self) -> float:
        """How long the check took."""
        ...

    @property
    def fault(self) -> str:
        """What is wrong."""
        ...


class Readiness(Protocol):
    """Whether the process is ready, and why not."""

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """One for each dependency."""
        ...


def admin_app(metrics: Metrics, readiness: Readiness) -> Starlette:
    """The three pages."""

    async def show_metrics(_request: Request) -> Response:
        return Response(metrics.expose(), media_type=CONTENT_TYPE_LATEST)

    async def show_health(_request: Request) -> Response:
        # Answering at all is the proof: the loop turns. A dependency that is gone must not get the process killed.
        return PlainTextResponse("ok\n")

    async def show_readiness(_request: Request) -> Response:
        body = {
            "ready": readiness.ready,
            "dependencies": {
                finding.name: {
                    "ready": not finding.fault,
                    "latency_ms": round(finding.duration_seconds * 1e3, 3),
                    **({"fault": finding.fault} if finding.fault else {}),
                }
                for finding in readiness.findings
            },
        }
        return JSONResponse(body, status_code=200 if readiness.ready else 503, headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
        ]
    )


class AdminServer:
    """Serves an ASGI application on this process's own event loop, so that its answers tell whether the loop turns."""

    def __init__(self, app: Starlette, *, listen: str) -> None:
        """`listen` is `host:port`; port 0 takes a free one."""
        host, _, port = listen.rpartition(":")
        self._app = app
        self._host = host.strip("[]")
        self.port = int(port)
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: if the address is taken or not of this machine.
        """
        # Granian shares addresses (SO_REUSEPORT) and does not tell which port it took, so ask the system first.
        self.port = _free_port(self._host, self.port)
        self._server = Server(
            self._app,
            address=self._host,
            port=self.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        self._serving = asyncio.create_task(self._server.serve(), name="admin port")
        while not await self._answers():
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Stops listening; a connection that is still open is dropped after half a second."""
        if self._server is None or self._serving is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
        _, unfinished = await asyncio.wait({self._serving}, timeout=STOP_SECONDS_MAX)
        if unfinished:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._host, self.port)
        except OSError:
            return False
        writer.close()
        return True


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
