"""Stock that arrives, is corrected, is counted: what changes on_hand without a sale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from inventory_svc.domain.stock import (
    EMPTY,
    ON_HAND_MAX,
    Counters,
    Kind,
    Level,
    LevelChanged,
    LevelKey,
    added_up,
    level_changed,
)
from inventory_svc.errors import DuplicateLine, InsufficientStock, RevisionConflict, StockLimitExceeded
from meshkit.core.errors import listed

Levels = Mapping[LevelKey, Level]


class Receive(NamedTuple):
    """Add units that arrived."""

    lines: tuple[tuple[LevelKey, int], ...]


class Adjust(NamedTuple):
    """Add or take away units for a reason."""

    lines: tuple[tuple[LevelKey, int], ...]
    reason: str


class SetLine(NamedTuple):
    """A counted on_hand; `expected_revision` is the level's revision that the caller saw, if it says so."""

    key: LevelKey
    quantity: int
    expected_revision: int | None = None


class SetCounts(NamedTuple):
    """Replace on_hand by counts."""

    lines: tuple[SetLine, ...]


class Moved(NamedTuple):
    """The revision after the command."""

    revision: int


def receive(levels: Levels, command: Receive) -> list[LevelChanged]:
    """Adds the lines to on_hand."""
    return [
        _on_hand_changed(levels, Kind.STOCK_RECEIVED, key, quantity)
        for key, quantity in sorted(added_up(command.lines).items())
    ]


def adjust(levels: Levels, command: Adjust) -> list[LevelChanged]:
    """Adds the signed lines to on_hand; lines that cancel out change nothing.

    Raises:
        InsufficientStock: a line takes more than is available, naming every such line.
    """
    totals = {key: quantity for key, quantity in added_up(command.lines).items() if quantity}
    require_available(levels, ((key, -quantity) for key, quantity in totals.items() if quantity < 0))
    return [
        _on_hand_changed(levels, Kind.STOCK_ADJUSTED, key, quantity, reason=command.reason)
        for key, quantity in sorted(totals.items())
    ]


def set_counts(levels: Levels, command: SetCounts) -> list[LevelChanged]:
    """Replaces on_hand by the counts; a count that agrees changes nothing.

    Raises:
        DuplicateLine: a key stands twice.
        RevisionConflict: a level is not at the expected revision; has the first one's current value.
        InsufficientStock: a count is below what is unavailable, reserved and allocated.
    """
    differences: dict[LevelKey, int] = {}
    for line in command.lines:
        level = levels.get(line.key, _NO_LEVEL)
        if line.key in differences:
            raise DuplicateLine(f"{line.key.sku} at {line.key.location} stands twice", metadata=_facts(line.key))
        if line.expected_revision is not None and line.expected_revision != level.revision:
            metadata = _facts(line.key) | {
                "expected_revision": str(line.expected_revision),
                "revision": str(level.revision),
                "on_hand": str(level.counters.on_hand),
                "available": str(level.counters.available),
            }
            message = (
                f"{line.key.sku} at {line.key.location} is at revision {level.revision} with {level.counters.on_hand}"
                f" on hand, not at revision {line.expected_revision}"
            )
            raise RevisionConflict(message, metadata=metadata)
        differences[line.key] = line.quantity - level.counters.on_hand
    require_available(levels, ((key, -change) for key, change in differences.items() if change < 0))
    return [
        _on_hand_changed(levels, Kind.STOCK_SET, key, change) for key, change in sorted(differences.items()) if change
    ]


_NO_LEVEL = Level(EMPTY, 0)


def counters(levels: Levels, key: LevelKey) -> Counters:
    """The counters of a level; zeros where it does not exist yet."""
    return levels.get(key, _NO_LEVEL).counters


def require_available(levels: Levels, wanted: Iterable[tuple[LevelKey, int]]) -> None:
    """Refuses unless every key has the wanted units available.

    Raises:
        InsufficientStock: naming every short line, in the order of `wanted`. Metadata: `count`, and `short_lines`, a
            JSON array of {"sku", "location", "lot" where there is one, "requested", "available"}.
    """
    short = [(key, quantity, max(0, counters(levels, key).available)) for key, quantity in wanted
             if quantity > counters(levels, key).available]  # fmt: skip
    if not short:
        return
    key, quantity, available = short[0]
    lines = [{**_facts(each), "requested": units, "available": there} for each, units, there in short]
    message = f"{quantity} of {key.sku} at {key.location} wanted, {available} available"
    if len(short) > 1:
        message += f" (and {len(short) - 1} more lines are short)"
    raise InsufficientStock(message, metadata={"count": str(len(short)), "short_lines": listed(lines)})


def _on_hand_changed(levels: Levels, kind: Kind, key: LevelKey, change: int, *, reason: str = "") -> LevelChanged:
    before = counters(levels, key)
    after = before._replace(on_hand=before.on_hand + change)
    if after.on_hand > ON_HAND_MAX:
        message = f"{key.sku} at {key.location} would have {after.on_hand} on hand; at most {ON_HAND_MAX}"
        raise StockLimitExceeded(message, metadata=_facts(key))
    return level_changed(kind, key, before, after, reason=reason)


def _facts(key: LevelKey) -> dict[str, str]:
    return {"sku": key.sku, "location": key.location} | ({"lot": key.lot} if key.lot else {})
