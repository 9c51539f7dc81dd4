"""The kernel's types, and what a service must bring to use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from psycopg import AsyncConnection

from meshkit.core.decision import Decision, Facts, Origin

Writer = AsyncConnection[tuple[Any, ...]]
"""The kernel's connection: in pipeline mode, inside the batch's transaction, the head row locked."""

EVENTS_PER_REVISION_MAX = 20_000
"""A command of 10,000 lines writes at most two events a line: the level and what may be sold of it."""

BEGINNING_OF_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fence:
    """Which owner of which saga sends a command; the higher fence is the later owner."""

    saga_id: str
    fence: int


B = TypeVar("B")
R = TypeVar("R")
S = TypeVar("S")
E = TypeVar("E")


@dataclass(slots=True)
class Command(Generic[B]):
    """One command as the kernel takes it.

    `body` is the service's own dataclass. `weight` is how many rows it may touch (lines), at least 1. `field_names`
    maps the numbers in the fingerprint to names for the error message. `deadline` is in event-loop seconds: a command
    that has not begun by then is not executed. `occur_time` is set where it happened before it is recorded (an expiry).
    """

    body: B
    method: str
    request_id: str
    origin: Origin
    fingerprint: bytes = b""
    field_names: dict[int, str] = field(default_factory=dict)
    weight: int = 1
    fence: Fence | None = None
    deadline: float | None = None
    occur_time: datetime | None = None
    group_id: str = ""
    """The request id that several commands came under together; each has one of its own as well. Once any of them has
    had an effect, all others of the group must have the same fingerprint."""
    remembered: bool = True
    """False for commands of the service's own that their state alone makes idempotent; no request row is kept."""


@dataclass(slots=True)  # like EventRow
class Record:
    """A service's event as a log row: what the kernel does not know by itself.

    `deltas` and `balances` have the same length, which the service fixes per kind of key; both are empty for events
    that count nothing.
    """

    kind: str
    key: str
    payload: bytes
    deltas: tuple[int, ...] = ()
    balances: tuple[int, ...] = ()
    channel: str = ""


@dataclass(slots=True)
class EventRow:
    """One row of the log. `hash` is set on index 0 and covers the whole revision.

    Nobody changes one. It is not frozen because thousands are made a second, and a frozen one costs thrice as much.
    """

    revision: int
    index: int
    kind: str
    key: str
    payload: bytes
    deltas: tuple[int, ...]
    balances: tuple[int, ...]
    principal: str
    client_id: str
    channel: str
    reference: str
    request_id: str
    traceparent: str
    occur_time: datetime
    record_time: datetime
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class Head:
    """The log's head: the last revision, its time and hash."""

    log_id: str
    revision: int
    record_time: datetime
    hash: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller gets: the serialised reply, whether it is a repeat's, and the revision it was first given at."""

    reply: bytes
    revision: int
    repeated: bool


class Model(Protocol[B, S, E, R]):
    """What a service brings. Everything but `load` and `save` is pure."""

    async def load(self, connection: Writer, bodies: Sequence[B], *, horizon: datetime) -> S:
        """Reads what the bodies need, under the lock, and the holds on the same keys that lapse by `horizon`.

        Those that lapse first, up to `LAPSING_MAX`, with all that expiring them changes. `horizon` lies a little after
        now; `lapsed` is asked again with the exact time.
        """
        ...

    def lapsed(self, state: S, now: datetime) -> Iterable[Command[B]]:
        """The commands that time itself has given by `now`, oldest first; executed before the batch's own."""
        ...

    def overdue(self, state: S, now: datetime) -> bool:
        """Whether more holds on these keys have lapsed by `now` than could be loaded."""
        ...

    def decide(self, state: S, body: B, facts: Facts) -> Decision[E, R]:
        """What the command does in this state. Raises a `MeshError` to refuse; changes nothing."""
        ...

    def apply(self, state: S, decision: Decision[E, R], facts: Facts) -> None:
        """Brings the state to where the decision leaves it."""
        ...

    def record(self, event: E) -> Record:
        """The event as a log row."""
        ...

    def encode_reply(self, reply: R) -> bytes:
        """The reply as it goes to the caller and is kept for repeats."""
        ...

    async def save(self, connection: Writer, state: S) -> None:
        """Queues the statements that write what `apply` changed."""
        ...
