"""The admin port of a process: `/metrics` for Prometheus, `/healthz` (alive) and `/readyz` (each dependency).

Plain HTTP without a token: whoever reaches the port may read it, so it listens on loopback unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshkit.telemetry.metrics import Metrics


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
        status_code = 200 if readiness.ready else 503
        return JSONResponse(describe(readiness), status_code=status_code, headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
        ]
    )


def describe(readiness: Readiness) -> dict[str, object]:
    """What `/readyz` says, as JSON."""
    return {
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
