"""The smallest service there can be: it counts units under keys, so that the kernel shows without any rule of stock."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from struct import pack
from typing import Any, TypeAlias

import psycopg

from meshkit.core.clock import Clock, SystemClock
from meshkit.core.decision import Decision, Facts, Origin
from meshkit.core.errors import Kind, MeshError
from meshkit.log.ddl import LOG_V1
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Command, EventRow, Fence, Head, Record, Writer
from meshkit.log.writer import LogWriter
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing

TABLES = (
    f"{LOG_V1} CREATE TABLE tally (key text PRIMARY KEY, units bigint CONSTRAINT units_are_few CHECK (units < 1000))"
)
CLIENT = "client:one"


class NotEnough(MeshError):
    """Fewer units are there."""

    kind = Kind.REFUSED
    reason = "NOT_ENOUGH"


@dataclass(frozen=True)
class Add:
    """Adds units (negative: takes them, if they are there). More than 999 break the table's constraint."""

    key: str
    units: int = 1


@dataclass(frozen=True)
class Nothing:
    """Changes nothing."""


@dataclass(frozen=True)
class Bug:
    """Breaks our own code."""


@dataclass(frozen=True)
class Flood:
    """Makes so many events."""

    key: str
    events: int


Body: TypeAlias = Add | Nothing | Bug | Flood
Event: TypeAlias = tuple[str, int, int]
"""Key, delta, balance."""


@dataclass
class Tallies:
    """What a batch has loaded and changed."""

    units: dict[str, int]
    changed: set[str] = field(default_factory=set)


class TallyModel:
    """What a service brings. `on_decide` is called before each decision."""

    def __init__(self, on_decide: Callable[[Body], None] | None = None) -> None:
        self.on_decide = on_decide
        self.decided: list[Body] = []

    async def load(self, connection: Writer, bodies: Sequence[Body], *, horizon: datetime) -> Tallies:
        keys = sorted({body.key for body in bodies if isinstance(body, Add | Flood)})
        sql = "SELECT key, units FROM tally WHERE key = ANY(%b::text[])"
        return Tallies(dict(await (await connection.execute(sql, (keys,), binary=True)).fetchall()))

    def lapsed(self, state: Tallies, now: datetime) -> Iterable[Command[Body]]:
        return []

    def overdue(self, state: Tallies, now: datetime) -> bool:
        return False

    def decide(self, state: Tallies, body: Body, facts: Facts) -> Decision[Event, int]:
        self.decided.append(body)
        if self.on_decide is not None:
            self.on_decide(body)
        match body:
            case Add(key, units):
                after = state.units.get(key, 0) + units
                if after < 0:
                    raise NotEnough(f"{after - units} there", metadata={"key": key})
                return Decision([(key, units, after)], after)
            case Flood(key, events):
                before = state.units.get(key, 0)
                return Decision([(key, 0, before)] * events, before)
            case Nothing():
                return Decision([], 0)
            case Bug():
                raise ZeroDivisionError("a bug of ours")

    def apply(self, state: Tallies, decision: Decision[Event, int], facts: Facts) -> None:
        for key, _, balance in decision.events:
            state.units[key] = balance
            state.changed.add(key)

    def record(self, event: Event) -> Record:
        key, delta, balance = event
        return Record("tallied", key, f"{key}{delta:+}".encode(), (delta,), (balance,))

    def encode_reply(self, reply: int) -> bytes:
        return str(reply).encode()

    async def save(self, connection: Writer, state: Tallies) -> None:
        await connection.execute(
            "INSERT INTO tally SELECT * FROM unnest(%b::text[], %b::bigint[])"
            " ON CONFLICT (key) DO UPDATE SET units = excluded.units",
            (sorted(state.changed), [state.units[key] for key in sorted(state.changed)]),
        )


FIELDS = {2: "key", 3: "units"}


def command(
    body: Body, request_id: str, *, client: str = CLIENT, fence: Fence | None = None, deadline: float | None = None
) -> Command[Body]:
    """A command as the rpc layer makes it."""
    fingerprint = b""
    if isinstance(body, Add):
        for number, name in FIELDS.items():
            value = str(getattr(body, name)).encode()
            fingerprint += pack(">I8s", number, blake2b(value, digest_size=8).digest())
    return Command(
        body=body,
        method=type(body).__name__,
        request_id=request_id,
        origin=Origin("user:ann", client),
        fingerprint=fingerprint,
        field_names=FIELDS,
        fence=fence,
        deadline=deadline,
    )


def adds(number: int, key: str = "k", prefix: str = "r") -> list[Command[Body]]:
    """Commands that add one unit each."""
    return [command(Add(key), f"{prefix}{index}") for index in range(number)]


PATIENT = Limits(decide_seconds_max=10.0)
"""A batch takes all that waits: deciding is not cut short on a busy machine."""


class Kernel(LogWriter[Body, Tallies, Event, int]):
    """A writer that keeps what it committed: `commits` has the events of each batch."""

    def __init__(
        self, url: str, *, clock: Clock | None = None, limits: Limits = PATIENT, model: TallyModel | None = None
    ) -> None:
        self.model = model or TallyModel()
        self.commits: list[list[EventRow]] = []
        self.numbers = Metrics()

        def committed(events: Sequence[EventRow], head: Head) -> None:
            assert head.revision == events[-1].revision
            self.commits.append(list(events))

        super().__init__(
            self.model,
            url=url,
            clock=clock or SystemClock(),
            limits=limits,
            metrics=LogMetrics(self.numbers),
            tracing=Tracing(),
            on_commit=committed,
        )


@contextlib.asynccontextmanager
async def running(*kernels: LogWriter[Any, Any, Any, Any]) -> AsyncIterator[None]:
    """The writers' loops run meanwhile."""
    tasks = [asyncio.create_task(kernel.run()) for kernel in kernels]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def outcome(answer: asyncio.Future[Any]) -> str:
    """The reply, or the reason of the refusal."""
    try:
        return str((await answer).reply.decode())
    except MeshError as refusal:
        return refusal.reason


def outcomes(results: Iterable[Any]) -> list[str]:
    """The same for what `submit_all` answers."""
    return [each.reason if isinstance(each, MeshError) else each.reply.decode() for each in results]


class Database:
    """A second look at the log, past the kernel. `tables` are emptied before each test."""

    tables = "log_head, log_event, log_request, log_saga_fence, tally"

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Ends everybody else's connections and begins the log anew."""
        for pid in self.backends():
            self.rows("SELECT pg_terminate_backend(%s, 5000)", pid)
        with psycopg.connect(self.url) as connection:
            connection.execute(f"TRUNCATE {self.tables}".encode())
            connection.execute("INSERT INTO log_head DEFAULT VALUES")

    def units(self, key: str = "k") -> int:
        """What is counted under a key."""
        found = self.rows("SELECT units FROM tally WHERE key = %s", key)
        return int(found[0][0]) if found else 0

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        tables = ("log_event", "log_request", "log_saga_fence", "tally")
        return {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}

    def head(self) -> tuple[int, datetime]:
        """Revision and time."""
        revision, record_time = self.rows("SELECT revision, record_time FROM log_head")[0]
        return revision, record_time

    def backends(self) -> list[int]:
        """The server processes of everybody else who is connected to this database by this role."""
        sql = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
            "AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in self.rows(sql)]

    def waiting_backends(self) -> list[int]:
        """The server processes that wait for the head's lock."""
        sql = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE '%log_head%'"
        )
        return [pid for (pid,) in self.rows(sql)]

    def waits_for_lock(self) -> bool:
        """Whether somebody waits for the head's lock."""
        return bool(self.waiting_backends())

    @contextlib.contextmanager
    def head_locked(self) -> Iterator[psycopg.Connection[Any]]:
        """The head row is held by somebody else meanwhile."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT 1 FROM log_head FOR UPDATE")
            yield connection
            connection.rollback()


async def eventually(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Waits until the condition holds; the condition may block for a moment."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.005)
