"""Clients that call promo over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from beautymesh.promo.v1 import promo_pb2_grpc
from tests.channels import connected
from tests.processes import USUAL_SCOPES, Stack

if TYPE_CHECKING:
    Stub: TypeAlias = promo_pb2_grpc.PromoServiceAsyncStub  # exists for type checkers only
else:
    Stub = promo_pb2_grpc.PromoServiceStub

SCOPES: Final = USUAL_SCOPES["promo"]


@contextlib.asynccontextmanager
async def client(stack: Stack, targets: str | Sequence[str], *, token: str | None = None) -> AsyncIterator[Stub]:
    """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
    shown = token if token is not None else stack.token()
    async with connected(targets, token=lambda: shown) as channel:
        yield promo_pb2_grpc.PromoServiceStub(channel)
