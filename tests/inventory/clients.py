"""Clients that call inventory over gRPC."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from beautymesh.inventory.v1 import inventory_pb2_grpc
from tests.channels import connected
from tests.processes import USUAL_SCOPES, Stack

if TYPE_CHECKING:
    Stub: TypeAlias = inventory_pb2_grpc.InventoryServiceAsyncStub  # exists for type checkers only
else:
    Stub = inventory_pb2_grpc.InventoryServiceStub

SCOPES: Final = USUAL_SCOPES["inventory"] | {"inventory.operate"}
"""All that there are."""


@contextlib.asynccontextmanager
async def client(
    stack: Stack, targets: str | Sequence[str], *, token: str | None = None, name: str = "client:test"
) -> AsyncIterator[Stub]:
    """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
    shown = token if token is not None else stack.token(client=name)
    async with connected(targets, token=lambda: shown) as channel:
        yield inventory_pb2_grpc.InventoryServiceStub(channel)


async def until(seconds: float, condition: object) -> None:
    """Waits until an async condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # type: ignore[operator]  # a coroutine function
            await asyncio.sleep(0.02)
