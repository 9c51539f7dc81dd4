"""The kernel's SQL: one connection, one batch at a time, everything in as few round trips as there can be.

The statements are queued in pipeline mode. A batch takes two round trips: head, requests, fences and the service's own
rows in the first; all writes and COMMIT in the second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from meshkit.db.engine import KEY_LOOKUPS, LIVENESS, with_options
from meshkit.log.batch import Batch, RequestKey, RequestRow
from meshkit.log.model import B, Command, E, Head, R, S, Writer

TRANSACTION_SECONDS_MAX = 2.0
IDLE_SECONDS_MAX = 1.0
LOCK_SECONDS_MAX = 1.9
"""Below the transaction's bound, so that waiting for another writer is never taken for too much work."""
HEAVY_WEIGHT = 1_000
"""A batch of more lines than this gets more time: 10,000 lines take about a second here, and machines differ."""
HEAVY_SECONDS_PER_LINE = 0.001


async def connect(url: str) -> Writer:
    """Opens the writer's connection.

    A paused process must lose the head lock, not stall the service: hence the timeouts.
    """
    options = KEY_LOOKUPS | {
        "transaction_timeout": f"{TRANSACTION_SECONDS_MAX}s",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS_MAX}s",
        "lock_timeout": f"{LOCK_SECONDS_MAX}s",
        "TimeZone": "UTC",
    }
    connection = await AsyncConnection.connect(
        url,
        autocommit=True,  # BEGIN and COMMIT are written out, because they travel in the pipeline
        prepare_threshold=0,
        **LIVENESS,
        options=with_options(url, options),
    )
    connection.prepared_max = 500
    return connection


_Rows = AsyncCursor[tuple[Any, ...]]


@dataclass(slots=True)
class Opened:
    """What is being read at the beginning of a batch; the answers are still on their way."""

    head: _Rows
    requests: _Rows
    fences: _Rows | None

    async def receive(self) -> tuple[Head, dict[RequestKey, RequestRow], dict[str, int]]:
        """The head, the remembered requests and the highest fences."""
        head = await self.head.fetchone()
        assert head is not None, "log_head has exactly one row"
        requests = {(row[0], row[1]): RequestRow(*row) for row in await self.requests.fetchall()}
        fences = {row[0]: row[1] for row in await self.fences.fetchall()} if self.fences is not None else {}
        return Head(*head), requests, fences


HEAD_SQL = "SELECT log_id::text, revision, record_time, hash FROM log_head"


async def open_batch(connection: Writer, commands: Sequence[Command[B]]) -> Opened:
    """Queues BEGIN, the lock on the head, and what is remembered of the commands. Must be called in pipeline mode.

    The lock comes first: under READ COMMITTED every later statement then sees the last commit.
    """
    await connection.execute("BEGIN")
    head = await connection.execute(HEAD_SQL + " FOR UPDATE", binary=True)
    keys = {(command.origin.client_id, command.request_id): None for command in commands if command.remembered}
    keys |= {(command.origin.client_id, command.group_id): None for command in commands if command.group_id}
    requests = await connection.execute(
        """
        SELECT client_id, request_id, method, fingerprint, reply, revision
        FROM unnest(%b::text[], %b::text[]) AS wanted (client_id, request_id)
             JOIN log_request USING (client_id, request_id)
        """,
        ([client_id for client_id, _ in keys], [request_id for _, request_id in keys]),
        binary=True,
    )
    sagas = sorted({command.fence.saga_id for command in commands if command.fence is not None})
    fences = None
    if sagas:
        sql = "SELECT saga_id, fence FROM log_saga_fence WHERE saga_id = ANY(%b::text[])"
        fences = await connection.execute(sql, (sagas,), binary=True)
    return Opened(head, requests, fences)


@asynccontextmanager
async def time_for(connection: Writer, weight: int) -> AsyncGenerator[None]:
    """Lets one batch of many lines take longer. Outside of the transaction: its clock starts with it."""
    if weight <= HEAVY_WEIGHT:
        yield
        return
    await _set_timeouts(connection, more_seconds=weight * HEAVY_SECONDS_PER_LINE)
    yield
    await _set_timeouts(connection, more_seconds=0)  # not after a fault: the connection is dropped then


async def _set_timeouts(connection: Writer, *, more_seconds: float) -> None:
    await connection.execute(
        """
        SELECT set_config('transaction_timeout', %b, false),
               set_config('idle_in_transaction_session_timeout', %b, false)
        """,
        (f"{TRANSACTION_SECONDS_MAX + more_seconds:.3f}s", f"{IDLE_SECONDS_MAX + more_seconds:.3f}s"),
    )


async def append(connection: Writer, batch: Batch[B, S, E, R]) -> None:
    """Queues the rows of the batch and the new head. Must be called in pipeline mode, before COMMIT."""
    events = batch.new_events
    if events:
        await connection.execute(
            """
            INSERT INTO log_event (revision, index, kind, key, payload, deltas, balances, principal, client_id, channel,
                                   reference, request_id, traceparent, occur_time, record_time, hash)
            SELECT revision, index, kind, key, payload, deltas::bigint[], balances::bigint[], principal, client_id,
                   channel, reference, request_id, traceparent, occur_time, %b, hash
            FROM unnest(%b::bigint[], %b::integer[], %b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[],
                        %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[],
                        %b::bytea[])
                 AS new (revision, index, kind, key, payload, deltas, balances, principal, client_id, channel,
                         reference, request_id, traceparent, occur_time, hash)
            """,
            (
                batch.now,
                [event.revision for event in events],
                [event.index for event in events],
                [event.kind for event in events],
                [event.key for event in events],
                [event.payload for event in events],
                # unnest flattens arrays of arrays, so the inner ones travel as text
                [_array_literal(event.deltas) for event in events],
                [_array_literal(event.balances) for event in events],
                [event.principal for event in events],
                [event.client_id for event in events],
                [event.channel for event in events],
                [event.reference for event in events],
                [event.request_id for event in events],
                [event.traceparent for event in events],
                [event.occur_time for event in events],
                [event.hash for event in events],
            ),
        )
        await connection.execute(
            "UPDATE log_head SET revision = %b, record_time = %b, hash = %b",
            (batch.head.revision, batch.head.record_time, batch.head.hash),
        )
    requests = batch.new_requests
    if requests:
        await connection.execute(
            """
            INSERT INTO log_request (client_id, request_id, method, fingerprint, reply, revision, record_time)
            SELECT client_id, request_id, method, fingerprint, reply, revision, %b
            FROM unnest(%b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::bigint[])
                 AS new (client_id, request_id, method, fingerprint, reply, revision)
            """,
            (
                batch.now,
                [request.client_id for request in requests],
                [request.request_id for request in requests],
                [request.method for request in requests],
                [request.fingerprint for request in requests],
                [request.reply for request in requests],
                [request.revision for request in requests],
            ),
        )
    if batch.new_fences:
        await connection.execute(
            """
            INSERT INTO log_saga_fence (saga_id, fence, record_time)
            SELECT saga_id, fence, %b FROM unnest(%b::text[], %b::bigint[]) AS new (saga_id, fence)
            ON CONFLICT (saga_id) DO UPDATE
            SET fence = greatest(log_saga_fence.fence, excluded.fence), record_time = excluded.record_time
            """,
            (batch.now, list(batch.new_fences.keys()), list(batch.new_fences.values())),
        )


def _array_literal(numbers: tuple[int, ...]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"
