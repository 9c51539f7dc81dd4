"""Channels on servers that are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc.aio

from meshkit.rpc.channel import MeshChannel, grpc_channel

REACHED_SECONDS_MAX: Final = 60.0

C = TypeVar("C", bound=grpc.aio.Channel)


async def reached(channel: C) -> C:
    """The channel, once it is connected.

    A call on a new channel fails with its first attempt to connect. A machine that stands still for longer than that
    may take is no fault of what is tested.
    """
    async with asyncio.timeout(REACHED_SECONDS_MAX):
        await channel.channel_ready()
    return channel


@asynccontextmanager
async def connected(targets: str | Sequence[str], **options: Any) -> AsyncIterator[MeshChannel]:  # noqa: ANN401 — `grpc_channel`'s
    """A channel of the mesh that has reached its server; closed at the end."""
    async with grpc_channel(targets, **options) as channel:
        yield await reached(channel)
