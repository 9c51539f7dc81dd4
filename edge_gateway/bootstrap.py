"""What the edge process is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from edge_gateway.settings import EdgeSettings
from meshkit.service import Runtime, ServiceParts


@asynccontextmanager
async def build(_runtime: Runtime[EdgeSettings]) -> AsyncGenerator[ServiceParts]:
    """Nothing of its own yet, so it is ready as soon as it runs."""
    yield ServiceParts()
