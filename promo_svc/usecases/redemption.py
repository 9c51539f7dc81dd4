"""Redemptions as their client may see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from promo_svc.domain.redemptions import Redemption, State, require_own
from promo_svc.store.queries import read_redemption


async def get_redemption(
    engine: AsyncEngine, clock: Clock, redemption_id: str, *, client_id: str, any_client: bool
) -> tuple[Redemption, int]:
    """The redemption and the revision at which it was read. A hold that has lapsed is expired, swept or not.

    Raises:
        UnknownRedemption, Unavailable
    """
    found = await read_redemption(engine, redemption_id, now=clock.now())
    stored = found.redemptions[0] if found.redemptions else None
    own = require_own(stored, redemption_id, client_id, any_client=any_client)
    return as_of(own, found.now), found.revision


def as_of(redemption: Redemption, now: datetime) -> Redemption:
    """The redemption as it is now, also where no batch has expired it yet."""
    return replace(redemption, state=State.EXPIRED) if redemption.lapsed(now) else redemption
