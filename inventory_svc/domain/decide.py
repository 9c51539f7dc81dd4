"""From command to rule: the pure half of the inventory's log model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from inventory_svc.domain import catalogue, movements, reservations
from inventory_svc.domain.catalogue import (
    Location,
    LocationUpserted,
    Sku,
    SkuUpserted,
    Upserted,
    UpsertLocations,
    UpsertSkus,
)
from inventory_svc.domain.movements import Adjust, Moved, Receive, SetCounts
from inventory_svc.domain.reservations import (
    Commit,
    Expire,
    Extend,
    Release,
    Reservation,
    Reserve,
    Reserved,
    Settled,
    Ship,
    Shipped,
    State,
)
from inventory_svc.domain.stock import (
    Catalogue,
    Level,
    LevelChanged,
    LevelKey,
    Sellable,
    SellableChanged,
    sellable_changes,
)
from meshkit.core.decision import Decision, Facts


class ReservationExtended(NamedTuple):
    """A hold lapses later."""

    reservation_id: str
    channel: str
    expire_time: datetime


Body = UpsertSkus | UpsertLocations | Receive | Adjust | SetCounts | Reserve | Extend | Commit | Release | Expire | Ship
Event = SkuUpserted | LocationUpserted | LevelChanged | SellableChanged | ReservationExtended
Reply = Upserted | Moved | Reserved | Settled | Shipped


@dataclass(slots=True)
class WorkingSet:
    """What a batch has loaded and changed. `changed_*` name what must be saved, nouns with their revision."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    skus: dict[str, Sku] = field(default_factory=dict)
    locations: dict[str, Location] = field(default_factory=dict)
    levels: dict[LevelKey, Level] = field(default_factory=dict)
    sellable: dict[tuple[str, str], Sellable] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    lapsing_until: datetime | None = None
    """Of the holds that lapse on the keys of the commands, later ones are not loaded; None: all are."""
    changed_skus: dict[str, int] = field(default_factory=dict)
    changed_locations: dict[str, int] = field(default_factory=dict)
    changed_levels: set[LevelKey] = field(default_factory=set)
    changed_sellable: set[tuple[str, str]] = field(default_factory=set)
    changed_reservations: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class StockDecision(Decision[Event, Reply]):
    """A decision and the reservation that it leaves."""

    reservation: Reservation | None = None


def lapsed(state: WorkingSet, now: datetime) -> list[Reservation]:
    """The loaded holds that time has ended, oldest expiry first."""
    ended = [reservation for reservation in state.reservations.values() if reservation.lapsed(now)]
    return sorted(ended, key=lambda reservation: (reservation.expire_time, reservation.reservation_id))


def overdue(state: WorkingSet, now: datetime) -> bool:
    """Whether holds may have lapsed that are not loaded."""
    return state.lapsing_until is not None and state.lapsing_until <= now


def decide(state: WorkingSet, body: Body, facts: Facts) -> StockDecision:  # noqa: C901, PLR0911 — a table, one row a command
    """What the command does in this state.

    Raises:
        MeshError: it is refused; see the rule of each command.
    """
    match body:
        case Reserve():
            state.catalogue.require(key for key, _ in body.lines)
            reservations.require_unused(state.reservations, body.reservation_id)
            events, held = reservations.reserve(
                state.levels, body, client_id=facts.origin.client_id, now=facts.now, revision=facts.revision
            )
            return _decision(state, events, Reserved(held.reservation_id, held.expire_time, facts.revision), held)
        case Receive():
            state.catalogue.require(key for key, _ in body.lines)
            return _moved(state, movements.receive(state.levels, body), facts)
        case Adjust():
            state.catalogue.require(key for key, _ in body.lines)
            return _moved(state, movements.adjust(state.levels, body), facts)
        case SetCounts():
            state.catalogue.require(line.key for line in body.lines)
            return _moved(state, movements.set_counts(state.levels, body), facts)
        case Commit():
            reservation = _own(state, body.reservation_id, facts, any_client=body.any_client)
            return _settled(state, reservations.commit(state.levels, reservation, body), facts)
        case Release():
            return _release(state, body, facts)
        case Expire():
            return _expire(state, body, facts)
        case Extend():
            return _extend(state, body, facts)
        case Ship():
            reservation = _own(state, body.reservation_id, facts, any_client=True)
            changes, left = reservations.ship(state.levels, reservation, body)
            return _decision(state, changes, Shipped(left.reservation_id, left.closed, facts.revision), left)
        case UpsertSkus():
            skus, created, updated = catalogue.compare(body.skus, state.skus)
            reply = Upserted(created, updated, len(body.skus) - len(skus), _revision(facts, skus))
            return StockDecision([SkuUpserted(sku) for sku in skus], reply)
        case UpsertLocations():
            places, created, updated = catalogue.compare(body.locations, state.locations)
            reply = Upserted(created, updated, len(body.locations) - len(places), _revision(facts, places))
            return StockDecision([LocationUpserted(place) for place in places], reply)


def apply(state: WorkingSet, decision: Decision[Event, Reply], facts: Facts) -> None:
    """Brings the working set to where the decision leaves it."""
    for event in decision.events:
        match event:
            case LevelChanged():
                state.levels[event.key] = Level(event.after, facts.revision)
                state.changed_levels.add(event.key)
            case SellableChanged():
                entry = (event.sku, event.channel)
                state.sellable[entry] = Sellable(event.after, facts.revision)
                state.changed_sellable.add(entry)
            case SkuUpserted():
                state.skus[event.sku.sku] = event.sku
                state.catalogue.skus.add(event.sku.sku)
                state.changed_skus[event.sku.sku] = facts.revision
            case LocationUpserted():
                state.locations[event.location.location] = event.location
                state.catalogue.locations.add(event.location.location)
                state.changed_locations[event.location.location] = facts.revision
            case ReservationExtended():
                pass  # the reservation itself says it
    reservation = decision.reservation if isinstance(decision, StockDecision) else None
    if reservation is not None:
        at_revision = reservation.revision == facts.revision
        kept = reservation if at_revision else replace(reservation, revision=facts.revision)
        state.reservations[kept.reservation_id] = kept
        state.changed_reservations.add(kept.reservation_id)


def _release(state: WorkingSet, body: Release, facts: Facts) -> StockDecision:
    if body.in_saga and body.reservation_id not in state.reservations:
        # An undo may overtake what it undoes; the saga's fence then bars the late hold.
        return StockDecision([], Settled(body.reservation_id, facts.revision - 1))
    reservation = _own(state, body.reservation_id, facts, any_client=body.any_client)
    if reservation.state in {State.RELEASED, State.EXPIRED}:
        return StockDecision([], Settled(reservation.reservation_id, facts.revision - 1))
    if reservation.state is State.COMMITTED:
        raise reservations.wrong_state(reservation)
    return _settled(state, reservations.give_back(state.levels, reservation, expired=False), facts)


def _expire(state: WorkingSet, body: Expire, facts: Facts) -> StockDecision:
    reservation = reservations.require_own(
        state.reservations.get(body.reservation_id), body.reservation_id, "", any_client=True
    )
    if not reservation.lapsed(facts.now):
        return StockDecision([], Settled(reservation.reservation_id, facts.revision - 1))
    return _settled(state, reservations.give_back(state.levels, reservation, expired=True), facts)


def _extend(state: WorkingSet, body: Extend, facts: Facts) -> StockDecision:
    reservation = _own(state, body.reservation_id, facts, any_client=body.any_client)
    extended = reservations.extend(reservation, body, now=facts.now)
    if extended is None:
        return StockDecision([], Reserved(reservation.reservation_id, reservation.expire_time, facts.revision - 1))
    event = ReservationExtended(extended.reservation_id, extended.channel, extended.expire_time)
    return StockDecision([event], Reserved(extended.reservation_id, extended.expire_time, facts.revision), extended)


def _own(state: WorkingSet, reservation_id: str, facts: Facts, *, any_client: bool) -> Reservation:
    reservation = state.reservations.get(reservation_id)
    own = reservations.require_own(reservation, reservation_id, facts.origin.client_id, any_client=any_client)
    reservations.require_covered(own, facts.origin.locations)
    assert not own.lapsed(facts.now), f"{reservation_id} lapsed at {own.expire_time} and was not expired by {facts.now}"
    return own


def _decision(
    state: WorkingSet, changes: list[LevelChanged], reply: Reply, reservation: Reservation | None = None
) -> StockDecision:
    """Level changes with what they do to sellable quantities."""
    events: list[Event] = [*changes, *sellable_changes(state.sellable, changes)]
    return StockDecision(events, reply, reservation)


def _moved(state: WorkingSet, changes: list[LevelChanged], facts: Facts) -> StockDecision:
    return _decision(state, changes, Moved(_revision(facts, changes)))


def _settled(state: WorkingSet, change: reservations.Change, facts: Facts) -> StockDecision:
    events, reservation = change
    return _decision(state, events, Settled(reservation.reservation_id, facts.revision), reservation)


def _revision(facts: Facts, changes: Sequence[object]) -> int:
    """The revision after the command: its own if it changes anything, else the one before."""
    return facts.revision if changes else facts.revision - 1
