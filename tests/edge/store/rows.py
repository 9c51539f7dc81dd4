"""Rows of the edge's own tables: made as the code makes them, looked at, and moved in time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.domain.checkout import Checkout, State, Work
from edge_gateway.store import checkouts as store
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal

LEASE = 60.0
CLIENT = "client:shop"
ANN = Principal(
    subject="user:ann",
    client_id=CLIENT,
    scopes=frozenset({"checkout", "promo.redeem"}),
    channels=frozenset({"default"}),
    locations=frozenset({"BERLIN", "PARIS"}),
)

_numbers = itertools.count(1)


@dataclass
class EdgeDatabase:
    """A second look at the edge's tables."""

    url: str
    connection: psycopg.Connection[Any]

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        cursor = self.connection.execute(sql.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def waiting(self) -> int:
        """How many statements wait for somebody's lock."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(self.rows(sql)[0][0])

    @contextlib.contextmanager
    def row_locked(self, checkout_id: str) -> Iterator[None]:
        """Everybody who would change the row waits meanwhile, and then all begin at once."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT 1 FROM checkout WHERE checkout_id = %s FOR UPDATE", [checkout_id])
            yield
            connection.rollback()

    def row(self, checkout_id: str) -> dict[str, object]:
        """One checkout with all its columns."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute("SELECT * FROM checkout WHERE checkout_id = %s", [checkout_id]).fetchone()
        assert found is not None, f"no row {checkout_id}"
        return found

    def requests(self) -> dict[str, str]:
        """Which checkout each remembered request moved."""
        return dict(self.rows("SELECT request_id, checkout_id FROM checkout_request"))

    def age(self, seconds: float, *columns: str, checkout_id: str = "%") -> None:
        """Moves times of checkouts into the past, as if so much time had gone by."""
        changes = ", ".join(f"{column} = {column} - make_interval(secs => {seconds})" for column in columns)
        self.rows(f"UPDATE checkout SET {changes} WHERE checkout_id LIKE '{checkout_id}'")


@contextlib.contextmanager
def edge_database(url: str) -> Iterator[EdgeDatabase]:
    """The tables, empty."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE checkout, checkout_request")
        yield EdgeDatabase(url, connection)


def ask(name: str = "", *, client_id: str = CLIENT, method: str = "Create", fingerprint: bytes = b"f") -> store.Request:
    """A request, under an id of its own where none is said."""
    return store.Request(client_id, name or f"r{next(_numbers)}", method, fingerprint)


def drawn_up(
    checkout_id: str = "", *, client_id: str = CLIENT, profile_id: str = "", expires_in: float = 900
) -> Checkout:
    """A checkout as it is before its first commit."""
    now = datetime.now(UTC)
    return Checkout(
        checkout_id=checkout_id or new_id(),
        client_id=client_id,
        principal=ANN,
        state=State.OPENING,
        work=Work.OPEN,
        fence=1,
        request=b"asked",
        plan=b"promised",
        profile_id=profile_id,
        order_reference="",
        payment_reference="",
        fault="",
        lapsed=False,
        expire_time=now + timedelta(seconds=expires_in),
        create_time=now,
        confirm_time=None,
        update_time=now,
    )


async def opening(engine: AsyncEngine, checkout: Checkout, request: store.Request | None = None) -> Checkout:
    """A row in the state `opening`, owned by whoever made it."""
    await store.insert_opening(engine, checkout, request or ask(), lease_seconds=LEASE)
    return checkout


async def opened(engine: AsyncEngine, checkout: Checkout, request: store.Request | None = None) -> Checkout:
    """A row in the state `open`."""
    settled = await store.settle(engine, await opening(engine, checkout, request), State.OPEN)
    assert settled is not None
    return settled


async def move(
    engine: AsyncEngine, checkout_id: str, work: Work, request: store.Request | None = None, *, order: str = "order-1"
) -> Checkout | None:
    """Confirms or cancels, as far as the row goes."""
    return await store.move_open(
        engine,
        checkout_id,
        request or ask(method=work.value),
        work=work,
        principal=ANN,
        order_reference=order if work is Work.CONFIRM else "",
        payment_reference="payment-1" if work is Work.CONFIRM else "",
        lease_seconds=LEASE,
    )
