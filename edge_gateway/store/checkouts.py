"""Checkouts in the database: every function is one statement, and every write is one commit.

Time is the database's here (`now()`): leases of several machines must be compared on one clock. A write that an owner
makes names its fence, so that a former owner's does nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from edge_gateway.domain.checkout import Checkout, State, Work
from meshkit.core.errors import Unavailable
from meshkit.core.principal import Principal
from meshkit.db.read import read
from meshkit.db.schema import SchemaTooOld, require_current
from meshkit.db.write import write

_log = structlog.get_logger(__name__)

SWEEP_MAX: Final = 500
"""Rows that one statement of a worker changes at most."""

WAIT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """A request that moves a checkout, as its repeat is known by."""

    client_id: str
    request_id: str
    method: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What a request moved before: by which method, with which fingerprint, which checkout."""

    method: str
    fingerprint: bytes
    checkout: Checkout


@dataclass(frozen=True, slots=True)
class Filter:
    """Which checkouts of a client to list; empty means all. `before` is the last id of the page before."""

    client_id: str
    state: str = ""
    profile_id: str = ""
    order_reference: str = ""
    before: str = ""


class RequestKnown(Exception):
    """The request has moved a checkout already, perhaps in this very moment."""


_COLUMNS = """checkout.checkout_id, checkout.client_id, checkout.principal, checkout.state, checkout.work,
    checkout.fence, checkout.request, checkout.plan, checkout.profile_id, checkout.order_reference,
    checkout.payment_reference, checkout.fault, checkout.expire_time <= now() AS lapsed, checkout.expire_time,
    checkout.create_time, checkout.confirm_time, checkout.update_time"""


async def wait_for_fingerprint_key(engine: AsyncEngine, migrations: Path) -> bytes:
    """The key of this edge's fingerprints, as soon as the database answers.

    Raises:
        SchemaTooOld: the database answers and must be migrated first.
    """
    while True:
        try:
            await require_current(engine, migrations)
            key: bytes = (await read(engine, _KEY_SQL, {}))[0][0]
        except SchemaTooOld:
            raise
        except Unavailable as fault:
            _log.warning("waiting for the database", reason=fault.reason)
            await asyncio.sleep(WAIT_SECONDS)
        else:
            return key


async def read_checkout(engine: AsyncEngine, checkout_id: str) -> Checkout | None:
    """One checkout."""
    rows = await read(engine, _READ_SQL, {"checkout_id": checkout_id})
    return _checkout(rows[0]) if rows else None


async def read_request(engine: AsyncEngine, client_id: str, request_id: str) -> Found | None:
    """What a request has moved."""
    rows = await read(engine, _READ_REQUEST_SQL, {"client_id": client_id, "request_id": request_id})
    if not rows:
        return None
    method, fingerprint, *columns = rows[0]
    return Found(method, fingerprint, _checkout(columns))


async def list_checkouts(engine: AsyncEngine, chosen: Filter, *, rows_max: int) -> list[Checkout]:
    """Newest first. A state is the shown one: an open checkout that has lapsed is listed as expired."""
    parameters = {
        "client_id": chosen.client_id,
        "state": chosen.state,
        "profile_id": chosen.profile_id,
        "order_reference": chosen.order_reference,
        "before": chosen.before,
        "rows": rows_max,
    }
    return [_checkout(row) for row in await read(engine, _LIST_SQL, parameters)]


async def insert_opening(engine: AsyncEngine, checkout: Checkout, request: Request, *, lease_seconds: float) -> None:
    """Commits the plan, owned by this process, and remembers the request.

    Raises:
        RequestKnown: another call has come first under the same id.
    """
    parameters = {
        "checkout_id": checkout.checkout_id,
        "client_id": checkout.client_id,
        "principal": _principal_json(checkout.principal),
        "request": checkout.request,
        "plan": checkout.plan,
        "profile_id": checkout.profile_id,
        "expire_time": checkout.expire_time,
        "lease_seconds": lease_seconds,
        **_request_parameters(request),
    }
    try:
        await write(engine, _INSERT_SQL, parameters)
    except IntegrityError as taken:
        found = await read_request(engine, request.client_id, request.request_id)
        if found is not None and found.checkout.checkout_id == checkout.checkout_id:
            return  # ours: the connection broke after the commit, and the statement was sent again
        raise RequestKnown(request.request_id) from taken


async def move_open(  # one statement decides the race
    engine: AsyncEngine,
    checkout_id: str,
    request: Request,
    *,
    work: Work,
    principal: Principal,
    order_reference: str = "",
    payment_reference: str = "",
    lease_seconds: float,
) -> Checkout | None:
    """Moves an open checkout that has not lapsed to `confirming` or `cancelling`, and remembers the request.

    `:confirm`, `:cancel` and expiry race here, on the row: one of them finds it open. None for the others.

    Raises:
        RequestKnown: the request has moved a checkout before.
    """
    state = {Work.CONFIRM: State.CONFIRMING, Work.CANCEL: State.CANCELLING}[work]
    parameters = {
        "checkout_id": checkout_id,
        "state": state.value,
        "work": work.value,
        "principal": _principal_json(principal),
        "order_reference": order_reference,
        "payment_reference": payment_reference,
        "lease_seconds": lease_seconds,
        **_request_parameters(request),
    }
    try:
        rows = await write(engine, _MOVE_SQL, parameters)
    except IntegrityError as taken:
        raise RequestKnown(request.request_id) from taken
    return _checkout(rows[0]) if rows else None


async def update_plan(engine: AsyncEngine, checkout: Checkout, plan: bytes, *, lease_seconds: float) -> bool:
    """Commits another plan. False: this process does not own the checkout any more."""
    parameters = {**_owner(checkout), "plan": plan, "lease_seconds": lease_seconds}
    return bool(await write(engine, _PLAN_SQL, parameters))


async def update_work(
    engine: AsyncEngine, checkout: Checkout, work: Work, *, fault: str, state: State, lease_seconds: float
) -> bool:
    """Commits which way the work goes from now on. False: this process does not own the checkout any more."""
    parameters = {
        **_owner(checkout),
        "work": work.value,
        "fault": fault,
        "state": state.value,
        "lease_seconds": lease_seconds,
    }
    return bool(await write(engine, _WORK_SQL, parameters))


async def settle(engine: AsyncEngine, checkout: Checkout, state: State, *, fault: str = "") -> Checkout | None:
    """Commits the outcome and gives the checkout up. None: this process does not own it any more.

    A refused checkout's request is forgotten: its repeat is decided anew.
    """
    parameters = {**_owner(checkout), "state": state.value, "fault": fault}
    rows = await write(engine, _SETTLE_REFUSED_SQL if state is State.REFUSED else _SETTLE_SQL, parameters)
    return _checkout(rows[0]) if rows else None


async def settle_later(
    engine: AsyncEngine, checkout: Checkout, state: State, *, after_seconds: float
) -> Checkout | None:
    """Commits the state and leaves the rest of the work to whoever takes it over after so many seconds.

    After more, where it waits for long already: a quarter of that time, up to 3 s; once it is sold, which nobody waits
    for, up to 30 s. Else the purchases of an hour would be tried all the time, and what is new would wait for them.
    """
    parameters = {**_owner(checkout), "state": state.value, "after_seconds": after_seconds}
    rows = await write(engine, _LATER_SQL, parameters)
    return _checkout(rows[0]) if rows else None


async def renew_leases(engine: AsyncEngine, checkouts: Sequence[Checkout], *, lease_seconds: float) -> None:
    """Prolongs what this process owns; what it has lost meanwhile stays as it is."""
    parameters = {
        "checkout_ids": [each.checkout_id for each in checkouts],
        "fences": [each.fence for each in checkouts],
        "lease_seconds": lease_seconds,
    }
    await write(engine, _RENEW_SQL, parameters)


async def take_over(engine: AsyncEngine, *, lease_seconds: float, rows_max: int) -> list[Checkout]:
    """Makes this process the owner of work whose lease has ended: what somebody waits for first, the oldest of it."""
    rows = await write(engine, _TAKE_OVER_SQL, {"lease_seconds": lease_seconds, "rows": rows_max})
    return [_checkout(row) for row in rows]


async def count_unfinished(engine: AsyncEngine) -> int:
    """How many checkouts have work left, whoever does it."""
    return int((await read(engine, _COUNT_UNFINISHED_SQL, {}))[0][0])


async def expire_lapsed(engine: AsyncEngine) -> int:
    """Moves open checkouts that have lapsed to `expired`; the services give back what they hold by themselves."""
    return len(await write(engine, _EXPIRE_SQL, {"rows": SWEEP_MAX}))


async def delete_old(engine: AsyncEngine, *, keep_days: int) -> int:
    """Deletes checkouts, with their requests, that were settled so many days ago; at most `SWEEP_MAX`.

    Refused ones after a day: nobody can ask for them, and there are many when something is sold out.
    """
    return len(await write(engine, _DELETE_SQL, {"days": keep_days, "rows": SWEEP_MAX}))


def _owner(checkout: Checkout) -> dict[str, object]:
    return {"checkout_id": checkout.checkout_id, "fence": checkout.fence}


def _request_parameters(request: Request) -> dict[str, object]:
    return {
        "client_id": request.client_id,
        "request_id": request.request_id,
        "method": request.method,
        "fingerprint": request.fingerprint,
    }


def _principal_json(principal: Principal) -> str:
    return json.dumps({
        "subject": principal.subject,
        "client_id": principal.client_id,
        "scopes": sorted(principal.scopes),
        "channels": sorted(principal.channels),
        "locations": sorted(principal.locations),
    })  # fmt: skip


def _principal(stored: dict[str, Any]) -> Principal:
    return Principal(
        subject=stored["subject"],
        client_id=stored["client_id"],
        scopes=frozenset(stored["scopes"]),
        channels=frozenset(stored["channels"]),
        locations=frozenset(stored["locations"]),
    )


def _checkout(row: Row[*tuple[Any, ...]] | Sequence[Any]) -> Checkout:
    checkout_id, client_id, principal, state, work, fence, request, plan, *rest = row
    (
        profile_id,
        order_reference,
        payment_reference,
        fault,
        lapsed,
        expire_time,
        create_time,
        confirm_time,
        update_time,
    ) = rest
    return Checkout(
        checkout_id=checkout_id,
        client_id=client_id,
        principal=_principal(principal),
        state=State(state),
        work=Work(work),
        fence=fence,
        request=request,
        plan=plan,
        profile_id=profile_id,
        order_reference=order_reference,
        payment_reference=payment_reference,
        fault=fault,
        lapsed=lapsed,
        expire_time=expire_time,
        create_time=create_time,
        confirm_time=confirm_time,
        update_time=update_time,
    )


_LEASE = "now() + make_interval(secs => CAST(:lease_seconds AS double precision))"
_REMEMBER = """INSERT INTO checkout_request (client_id, request_id, method, fingerprint, checkout_id)"""

_KEY_SQL = text("SELECT fingerprint_key FROM edge_key")
_READ_SQL = text(f"SELECT {_COLUMNS} FROM checkout WHERE checkout_id = :checkout_id")

_READ_REQUEST_SQL = text(f"""
    SELECT checkout_request.method, checkout_request.fingerprint, {_COLUMNS}
    FROM checkout_request JOIN checkout USING (checkout_id)
    WHERE checkout_request.client_id = :client_id AND checkout_request.request_id = :request_id
""")

_LIST_SQL = text(f"""
    SELECT {_COLUMNS} FROM checkout
    WHERE client_id = :client_id AND (:before = '' OR checkout_id < :before)
      AND (:state = '' OR :state = CASE WHEN state = 'open' AND expire_time <= now() THEN 'expired' ELSE state END)
      AND (:profile_id = '' OR profile_id = :profile_id)
      AND (:order_reference = '' OR order_reference = :order_reference)
    ORDER BY checkout_id DESC LIMIT :rows
""")

_INSERT_SQL = text(f"""
    WITH opening AS (
        INSERT INTO checkout (checkout_id, client_id, principal, state, work, fence, lease_until, request, plan,
                              profile_id, order_reference, payment_reference, fault, expire_time, create_time,
                              update_time)
        VALUES (:checkout_id, :client_id, CAST(:principal AS jsonb), 'opening', 'open', 1, {_LEASE}, :request, :plan,
                :profile_id, '', '', '', :expire_time, now(), now())
        RETURNING checkout_id
    )
    {_REMEMBER} SELECT :client_id, :request_id, :method, :fingerprint, checkout_id FROM opening
    RETURNING checkout_id
""")

_MOVE_SQL = text(f"""
    WITH moved AS (
        UPDATE checkout
        SET state = :state, work = :work, fence = fence + 1, lease_until = {_LEASE},
            principal = CAST(:principal AS jsonb), order_reference = :order_reference,
            payment_reference = :payment_reference, update_time = now(),
            confirm_time = CASE :state WHEN 'confirming' THEN now() END
        WHERE checkout_id = :checkout_id AND client_id = :client_id AND state = 'open' AND expire_time > now()
        RETURNING {_COLUMNS}
    ), remembered AS (
        {_REMEMBER} SELECT :client_id, :request_id, :method, :fingerprint, checkout_id FROM moved
    )
    SELECT * FROM moved
""")

_OWNED = "WHERE checkout_id = :checkout_id AND fence = :fence AND work <> ''"

_PLAN_SQL = text(f"""
    UPDATE checkout SET plan = :plan, lease_until = {_LEASE}, update_time = now() {_OWNED} RETURNING checkout_id
""")

_WORK_SQL = text(f"""
    UPDATE checkout SET work = :work, fault = :fault, state = :state, lease_until = {_LEASE}, update_time = now()
    {_OWNED} RETURNING checkout_id
""")

_SETTLE_SQL = text(f"""
    UPDATE checkout SET state = :state, work = '', lease_until = NULL, update_time = now(),
        fault = CASE WHEN :fault = '' THEN fault ELSE :fault END
    {_OWNED} RETURNING {_COLUMNS}
""")

_SETTLE_REFUSED_SQL = text(f"""
    WITH refused AS (
        UPDATE checkout SET state = :state, work = '', lease_until = NULL, update_time = now(),
            fault = CASE WHEN :fault = '' THEN fault ELSE :fault END
        {_OWNED} RETURNING {_COLUMNS}
    ), forgotten AS (
        DELETE FROM checkout_request USING refused WHERE checkout_request.checkout_id = refused.checkout_id
    )
    SELECT * FROM refused
""")

_LATER_SQL = text(f"""
    UPDATE checkout SET state = :state,
        update_time = CASE WHEN state = :state THEN update_time ELSE now() END,
        lease_until = now() + make_interval(secs => greatest(CAST(:after_seconds AS double precision),
            least(EXTRACT(EPOCH FROM now() - update_time) / 4, CASE :state WHEN 'confirmed' THEN 30 ELSE 3 END)))
    {_OWNED} RETURNING {_COLUMNS}
""")

_TAKE_OVER_SQL = text(f"""
    UPDATE checkout SET fence = fence + 1, lease_until = {_LEASE}
    WHERE checkout_id IN (
        SELECT checkout_id FROM checkout WHERE lease_until < now()
        ORDER BY state = 'confirmed', lease_until LIMIT :rows FOR UPDATE SKIP LOCKED
    )
    RETURNING {_COLUMNS}
""")

_RENEW_SQL = text(f"""
    UPDATE checkout SET lease_until = {_LEASE}
    FROM unnest(CAST(:checkout_ids AS text[]), CAST(:fences AS bigint[])) AS owned (checkout_id, fence)
    WHERE checkout.checkout_id = owned.checkout_id AND checkout.fence = owned.fence AND checkout.work <> ''
    RETURNING checkout.checkout_id
""")

_COUNT_UNFINISHED_SQL = text("SELECT count(*) FROM checkout WHERE lease_until IS NOT NULL")

_EXPIRE_SQL = text("""
    UPDATE checkout SET state = 'expired', update_time = now()
    WHERE checkout_id IN (
        SELECT checkout_id FROM checkout WHERE state = 'open' AND expire_time <= now()
        ORDER BY expire_time LIMIT :rows FOR UPDATE SKIP LOCKED
    )
    RETURNING checkout_id
""")

_DELETE_SQL = text("""
    WITH old AS (
        DELETE FROM checkout WHERE checkout_id IN (
            SELECT checkout_id FROM checkout
            WHERE work = '' AND state <> 'open' AND update_time < now() - make_interval(
                days => CASE state WHEN 'refused' THEN least(1, CAST(:days AS integer)) ELSE CAST(:days AS integer) END)
            ORDER BY update_time LIMIT :rows FOR UPDATE SKIP LOCKED
        ) RETURNING checkout_id
    ), requests AS (
        DELETE FROM checkout_request USING old WHERE checkout_request.checkout_id = old.checkout_id
    )
    SELECT checkout_id FROM old
""")
