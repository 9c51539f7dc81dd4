"""What the promo process is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from meshkit.service import Runtime, ServiceParts
from promo_svc.settings import PromoSettings


@asynccontextmanager
async def build(_runtime: Runtime[PromoSettings]) -> AsyncGenerator[ServiceParts]:
    """Nothing of its own yet, so it is ready as soon as it runs."""
    yield ServiceParts()
