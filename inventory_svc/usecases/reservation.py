"""Reservations as their client may see them: a hold that has lapsed is expired, swept or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.reservations import Reservation, State, require_covered, require_own
from inventory_svc.store.lists import Page, ReservationFilter, read_reservation_page
from inventory_svc.store.queries import read_reservation
from meshkit.core.clock import Clock


async def get_reservation(
    engine: AsyncEngine,
    clock: Clock,
    reservation_id: str,
    *,
    client_id: str,
    any_client: bool,
    locations: frozenset[str] = frozenset(),
) -> tuple[Reservation, int]:
    """The reservation and the revision at which it was read. Empty `locations` mean no restriction.

    Raises:
        UnknownReservation, OutsideGrant, Unavailable
    """
    found = await read_reservation(engine, reservation_id)
    own = require_own(found.reservation, reservation_id, client_id, any_client=any_client)
    require_covered(own, locations)
    return _as_of(own, max(clock.now(), found.record_time)), found.revision


async def list_reservations(
    engine: AsyncEngine, clock: Clock, wanted: ReservationFilter, *, after: str, rows_max: int
) -> Page[Reservation]:
    """The reservations behind the id `after`, by id; `rows_max` at most, and fewer where they have many lines.

    Raises:
        Unavailable
    """
    now = clock.now()
    page = await read_reservation_page(engine, wanted, after=after, rows_max=rows_max, now=now)
    as_of = max(now, page.record_time)
    return replace(page, rows=[_as_of(each, as_of) for each in page.rows])


def _as_of(stored: Reservation, now: datetime) -> Reservation:
    return replace(stored, state=State.EXPIRED) if stored.lapsed(now) else stored
