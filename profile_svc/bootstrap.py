"""What the profile process is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from meshkit.service import Runtime, ServiceParts
from profile_svc.settings import ProfileSettings


@asynccontextmanager
async def build(_runtime: Runtime[ProfileSettings]) -> AsyncGenerator[ServiceParts]:
    """Nothing of its own yet, so it is ready as soon as it runs."""
    yield ServiceParts()
