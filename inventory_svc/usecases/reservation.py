"""One reservation as its client may see it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.reservations import Reservation, State, require_own
from inventory_svc.store.queries import read_reservation
from meshkit.core.clock import Clock


async def get_reservation(
    engine: AsyncEngine, clock: Clock, reservation_id: str, *, client_id: str, any_client: bool
) -> tuple[Reservation, int]:
    """The reservation and the revision at which it was read. A hold that has lapsed is expired, swept or not.

    Raises:
        UnknownReservation, Unavailable
    """
    found = await read_reservation(engine, reservation_id)
    own = require_own(found.reservation, reservation_id, client_id, any_client=any_client)
    if own.lapsed(max(clock.now(), found.record_time)):
        own = replace(own, state=State.EXPIRED)
    return own, found.revision
