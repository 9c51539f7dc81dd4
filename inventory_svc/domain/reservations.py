"""Holding stock for a cart, and what becomes of the hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from inventory_svc.domain.movements import Levels, counters, require_available
from inventory_svc.domain.stock import DEFAULT_CHANNEL, Kind, LevelChanged, LevelKey, added_up, level_changed
from inventory_svc.errors import (
    IdTaken,
    InsufficientAllocation,
    ReservationExpired,
    UnknownChannel,
    UnknownReservation,
    WrongState,
)
from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.errors import InvalidRequest, OutsideGrant

HOLD_MAX = timedelta(hours=24)
"""How far ahead a new hold may lapse; of a `ttl` the contract says the same."""


class State(Enum):
    """held -> committed | released | expired."""

    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Line(NamedTuple):
    """Units of one level that a reservation holds, or that its allocation promises; and how many have left."""

    key: LevelKey
    quantity: int
    shipped: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A hold, and the allocation of the same id that it leaves when it is committed."""

    reservation_id: str
    client_id: str
    state: State
    lines: tuple[Line, ...]
    channel: str
    create_time: datetime
    expire_time: datetime
    order_reference: str = ""
    revision: int = 0

    def lapsed(self, now: datetime) -> bool:
        """Whether time has ended the hold: from `expire_time` on, to the instant."""
        return self.state is State.HELD and self.expire_time <= now

    @property
    def closed(self) -> bool:
        """Whether nothing of the allocation is left to ship."""
        return self.state is State.COMMITTED and all(line.shipped == line.quantity for line in self.lines)


class Reserve(NamedTuple):
    """Hold the lines, all or none, for `ttl` from now, or until `expire_time` where it is said.

    The id is made before, so that deciding stays pure: by the service, or, `id_chosen`, by its client, who may choose
    one that is taken.
    """

    reservation_id: str
    lines: tuple[tuple[LevelKey, int], ...]
    ttl: timedelta
    channel: str = DEFAULT_CHANNEL
    expire_time: datetime | None = None
    id_chosen: bool = False


class Extend(NamedTuple):
    """Let the hold lapse `ttl` from now, if that is later."""

    reservation_id: str
    ttl: timedelta
    any_client: bool = False


class Commit(NamedTuple):
    """Turn the hold into an allocation to an order."""

    reservation_id: str
    order_reference: str
    any_client: bool = False


class Release(NamedTuple):
    """Give the hold back. In a saga it may come without, or before, the hold that it undoes."""

    reservation_id: str
    any_client: bool = False
    in_saga: bool = False


class Expire(NamedTuple):
    """Give the hold back because its time has come; nothing if it is not held any more."""

    reservation_id: str


class Ship(NamedTuple):
    """Let allocated units leave; all that are left if no line is named."""

    reservation_id: str
    lines: tuple[tuple[LevelKey, int], ...] = ()


class Reserved(NamedTuple):
    """A hold that was made or extended: its id, when it lapses, and the revision after the command."""

    reservation_id: str
    expire_time: datetime
    revision: int


class Settled(NamedTuple):
    """The reservation was committed or released; the revision after the command."""

    reservation_id: str
    revision: int


class Shipped(NamedTuple):
    """Units left; whether any are left to ship, and the revision after the command."""

    reservation_id: str
    closed: bool
    revision: int


Change = tuple[list[LevelChanged], Reservation]
"""What a command does to levels, and the reservation that it leaves."""


def reserve(levels: Levels, command: Reserve, *, client_id: str, now: datetime, revision: int) -> Change:
    """Moves units from available to reserved, at a revision.

    Raises:
        UnknownChannel
        InvalidRequest: the expiry is past, or too far ahead.
        InsufficientStock: naming every short line.
    """
    if command.channel != DEFAULT_CHANNEL:
        raise UnknownChannel(f"unknown channel {command.channel}", metadata={"channel": command.channel})
    expire_time = _expiry(command, now)
    totals = added_up(command.lines)
    require_available(levels, totals.items())
    events = []
    for key, quantity in sorted(totals.items()):
        before = counters(levels, key)
        after = before._replace(reserved=before.reserved + quantity)
        assert after.available >= 0, f"I2: reserving {quantity} of {key} would leave {after}"
        events.append(
            level_changed(
                Kind.STOCK_RESERVED,
                key,
                before,
                after,
                reservation_id=command.reservation_id,
                channel=command.channel,
                expire_time=expire_time,
            )
        )
    held = Reservation(
        reservation_id=command.reservation_id,
        client_id=client_id,
        state=State.HELD,
        lines=tuple(Line(key, quantity) for key, quantity in sorted(totals.items())),
        channel=command.channel,
        create_time=now,
        expire_time=expire_time,
        revision=revision,
    )
    return events, held


def extend(reservation: Reservation, command: Extend, *, now: datetime) -> Reservation | None:
    """The reservation with its later expiry; None if it lapses later than asked for anyway.

    Raises:
        ReservationExpired, WrongState: it is not held.
    """
    _require_held(reservation)
    expire_time = now + command.ttl
    return replace(reservation, expire_time=expire_time) if expire_time > reservation.expire_time else None


def commit(levels: Levels, reservation: Reservation, command: Commit) -> Change:
    """Moves the units from reserved to allocated.

    Raises:
        ReservationExpired, WrongState: it is not held.
    """
    _require_held(reservation)
    events = []
    for line in reservation.lines:
        before = counters(levels, line.key)
        after = before._replace(reserved=before.reserved - line.quantity, allocated=before.allocated + line.quantity)
        events.append(
            level_changed(
                Kind.RESERVATION_COMMITTED,
                line.key,
                before,
                after,
                reservation_id=reservation.reservation_id,
                channel=reservation.channel,
                order_reference=command.order_reference,
            )
        )
    return events, replace(reservation, state=State.COMMITTED, order_reference=command.order_reference)


def give_back(levels: Levels, reservation: Reservation, *, expired: bool) -> Change:
    """Moves the units of a held reservation from reserved to available, because of its caller or of time."""
    assert reservation.state is State.HELD, f"I6: {reservation.reservation_id} is {reservation.state.value}, not held"
    kind = Kind.RESERVATION_EXPIRED if expired else Kind.RESERVATION_RELEASED
    events = []
    for line in reservation.lines:
        before = counters(levels, line.key)
        after = before._replace(reserved=before.reserved - line.quantity)
        events.append(
            level_changed(
                kind,
                line.key,
                before,
                after,
                reservation_id=reservation.reservation_id,
                channel=reservation.channel,
            )
        )
    return events, replace(reservation, state=State.EXPIRED if expired else State.RELEASED)


def ship(levels: Levels, reservation: Reservation, command: Ship) -> Change:
    """Takes units off on_hand and allocated.

    Raises:
        WrongState: there is no allocation, or it is closed.
        InsufficientAllocation: more than is left, naming the line.
    """
    if reservation.state is not State.COMMITTED or reservation.closed:
        raise wrong_state(reservation)
    left = {line.key: line.quantity - line.shipped for line in reservation.lines}
    leaving = added_up(command.lines) or {key: quantity for key, quantity in left.items() if quantity}
    for key, quantity in sorted(leaving.items()):
        if quantity > left.get(key, 0):
            there = left.get(key, 0)
            metadata = {"sku": key.sku, "location": key.location, "wanted": str(quantity), "left": str(there)}
            message = f"{quantity} of {key.sku} at {key.location} to ship, {there} left of the allocation"
            raise InsufficientAllocation(message, metadata=metadata)
    events = []
    for key, quantity in sorted(leaving.items()):
        before = counters(levels, key)
        after = before._replace(on_hand=before.on_hand - quantity, allocated=before.allocated - quantity)
        events.append(
            level_changed(
                Kind.ALLOCATION_SHIPPED,
                key,
                before,
                after,
                reservation_id=reservation.reservation_id,
                channel=reservation.channel,
                order_reference=reservation.order_reference,
            )
        )
    lines = tuple(line._replace(shipped=line.shipped + leaving.get(line.key, 0)) for line in reservation.lines)
    assert all(line.shipped <= line.quantity for line in lines), f"I7: {lines}"
    return events, replace(reservation, lines=lines)


def require_own(
    reservation: Reservation | None, reservation_id: str, client_id: str, *, any_client: bool
) -> Reservation:
    """The reservation, if the caller may know of it.

    Raises:
        UnknownReservation: there is none, or it is another client's; the two must look the same.
    """
    if reservation is None or (reservation.client_id != client_id and not any_client):
        raise UnknownReservation(f"unknown reservation {reservation_id}", metadata={"reservation_id": reservation_id})
    return reservation


def require_unused(reservations: Mapping[str, Reservation], reservation_id: str) -> None:
    """Refuses an id that a reservation has, whoever's it is and whatever became of it.

    Raises:
        IdTaken
    """
    if reservation_id in reservations:
        message = f"there is a reservation {reservation_id} already"
        raise IdTaken(message, metadata={"reservation_id": reservation_id})


def require_covered(reservation: Reservation, locations: frozenset[str]) -> None:
    """Refuses a reservation with a line outside the caller's locations; empty means no restriction.

    Raises:
        OutsideGrant: naming the first such location.
    """
    outside = sorted({line.key.location for line in reservation.lines} - locations) if locations else []
    if outside:
        raise OutsideGrant(f"the token does not cover the location {outside[0]}", metadata={"location": outside[0]})


def keys_of(reservations: Iterable[Reservation]) -> set[LevelKey]:
    """The levels that the reservations have lines on."""
    return {line.key for reservation in reservations for line in reservation.lines}


def _expiry(command: Reserve, now: datetime) -> datetime:
    expire_time = command.expire_time
    if expire_time is None:
        return now + command.ttl
    if expire_time <= now:
        raise InvalidRequest.of("expire_time", f"is past: it is {now.isoformat()}")
    if expire_time > now + HOLD_MAX + CLOCK_SKEW_MAX:
        raise InvalidRequest.of("expire_time", f"may be 24 h ahead at most: it is {now.isoformat()}")
    return expire_time


def _require_held(reservation: Reservation) -> None:
    if reservation.state is State.EXPIRED:
        metadata = {"reservation_id": reservation.reservation_id, "expire_time": reservation.expire_time.isoformat()}
        raise ReservationExpired(f"reservation {reservation.reservation_id} has expired", metadata=metadata)
    if reservation.state is not State.HELD:
        raise wrong_state(reservation)


def wrong_state(reservation: Reservation) -> WrongState:
    """The refusal for a reservation that is past the state it would have to be in."""
    state = "closed" if reservation.closed else reservation.state.value
    metadata = {"reservation_id": reservation.reservation_id, "state": state}
    return WrongState(f"reservation {reservation.reservation_id} is {state}", metadata=metadata)
