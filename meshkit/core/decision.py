"""What a pure rule may know, and what it answers: the part of the log kernel that domain code sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a command runs: what its events say about where it came from, and where it may act.

    `reference` is the caller's own (delivery note, basket number). Empty `locations` mean no restriction.
    """

    principal: str
    client_id: str
    traceparent: str = ""
    reference: str = ""
    locations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision may know besides the state: the time under the lock, and the revision that it will have."""

    now: datetime
    revision: int
    origin: Origin


@dataclass(frozen=True)
class Decision(Generic[E, R]):
    """What a command does: its events, in order, and its reply. Without events nothing is written, no revision taken.

    A service may subclass it to hand more from `decide` to `apply`.
    """

    events: Sequence[E]
    reply: R
