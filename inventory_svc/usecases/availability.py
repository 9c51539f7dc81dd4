"""What a channel may sell now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.stock import DEFAULT_CHANNEL
from inventory_svc.errors import UnknownChannel
from inventory_svc.store.queries import Availabilities, read_availabilities, read_levels_of_skus
from meshkit.core.clock import Clock


async def get_availabilities(
    engine: AsyncEngine, clock: Clock, skus: Sequence[str], *, channel: str, with_levels: bool
) -> Availabilities:
    """What the channel may sell of each SKU, all at one revision; `channel` may be empty for `default`.

    The levels, where asked for, come from a second statement and may be newer by a revision than the quantities.

    Raises:
        UnknownChannel, Unavailable
    """
    channel = channel or DEFAULT_CHANNEL
    if channel != DEFAULT_CHANNEL:
        raise UnknownChannel(f"unknown channel {channel}", metadata={"channel": channel})
    now = clock.now()
    found = await read_availabilities(engine, skus, channel=channel, now=now)
    if not with_levels:
        return found
    levels = await read_levels_of_skus(engine, skus, now=now)
    return replace(found, known=tuple(replace(each, levels=tuple(levels.get(each.sku, ()))) for each in found.known))
