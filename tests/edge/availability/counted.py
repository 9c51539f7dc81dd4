"""A real inventory service in this process, which lets a test see what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from beautymesh.inventory.v1 import availability_pb2
from inventory_svc.bootstrap import build
from inventory_svc.rpc.service import DESCRIPTOR
from inventory_svc.settings import InventorySettings
from meshkit.core.clock import SystemClock
from meshkit.rpc.call import Call
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.rpc.tokens import TokenVerifier
from meshkit.service import Runtime
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.inventory.clients import Stub, client
from tests.processes import ISSUER, Stack

Request = availability_pb2.BatchGetAvailabilityRequest


@dataclass
class Counted:
    """The service, a client of it, and every BatchGetAvailability that it was asked."""

    stack: Stack
    target: str
    stub: Stub
    batch_gets: list[tuple[Request, Call]] = field(default_factory=list)


class _Ear:
    """Hears one RPC, and passes all on."""

    def __init__(self, servicer: Any, heard: list[tuple[Request, Call]]) -> None:  # noqa: ANN401 — any servicer
        self._servicer = servicer
        self._heard = heard

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 — any RPC
        return getattr(self._servicer, name)

    async def BatchGetAvailability(self, request: Request, call: Call) -> Any:  # noqa: ANN401, N802 — an RPC's
        self._heard.append((request, call))
        return await self._servicer.BatchGetAvailability(request, call)


@asynccontextmanager
async def counted_inventory(stack: Stack) -> AsyncIterator[Counted]:
    """The service on the stack's database."""
    heard: list[tuple[Request, Call]] = []
    verifier = TokenVerifier(stack.keys.jwks_file, issuer=ISSUER)
    settings = InventorySettings(database_url=stack.database_url, drain_wait_seconds=0)
    metrics, tracing = Metrics(), Tracing()
    async with build(Runtime(settings, SystemClock(), metrics, tracing, verifier, None)) as parts:
        ((descriptor, servicer),) = parts.servicers
        server = MeshServer(
            [(descriptor, _Ear(servicer, heard))],
            listen="127.0.0.1:0",
            interceptors=Interceptors(verifier=verifier, metrics=metrics, tracing=tracing),
            health=Health(services=(DESCRIPTOR.full_name,), checks=parts.checks, metrics=metrics),
            on_drain=parts.on_drain,
        )
        await server.start()
        tasks = [asyncio.ensure_future(task()) for task in parts.tasks]
        try:
            target = f"127.0.0.1:{server.port}"
            async with client(stack, target) as stub:
                yield Counted(stack, target, stub, heard)
        finally:
            await server.drain(wait_seconds=0, grace_seconds=1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
