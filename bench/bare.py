"""The rows of a service's batch without the service: one transaction with one statement a table, and single flushes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import psycopg
from psycopg import sql

from meshkit.core.ids import new_id

Job = dict[str, Any]
Connection = psycopg.Connection[tuple[Any, ...]]

_WRITTEN: Final = {
    "log_event": "revision > {since}",
    "log_request": "revision > {since}",
    "stock_level": "revision > {since}",
    "sellable": "revision > {since}",
    "reservation": "revision > {since}",
    "reservation_line": "reservation_id IN (SELECT reservation_id FROM reservation WHERE revision > {since})",
}
"""What a batch of reservations writes, the head's row aside, and which rows of it are the last batch's."""

_KEYS: Final = {"stock_level": ("sku", "location", "lot"), "sellable": ("sku", "channel")}
"""Tables whose rows are replaced, by their keys; in all others rows are new."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one table, as columns."""

    table: str
    columns: Sequence[tuple[str, str]]
    values: list[list[Any]]

    def renamed(self, *, later: int, ids: dict[str, str]) -> _Rows:
        """The same rows at later revisions, with other reservation and request ids."""
        values = [
            [value + later for value in column] if name == "revision"
            else [ids.setdefault(value, new_id()) for value in column] if name in {"reservation_id", "request_id"}
            else column
            for (name, _), column in zip(self.columns, self.values, strict=True)
        ]  # fmt: skip
        return _Rows(self.table, self.columns, values)

    def statement(self) -> sql.Composed:
        """One INSERT for all of them; arrays in arrays travel as text, because unnest would flatten them."""
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.columns)
        unnested = sql.SQL(", ").join(sql.SQL(f"%b::{_travels_as(kind)}[]") for _, kind in self.columns)
        selected = sql.SQL(", ").join(_cast(name, kind) for name, kind in self.columns)
        insert = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS new ({})").format(
            sql.Identifier(self.table), names, selected, unnested, names
        )
        keys = _KEYS.get(self.table)
        if keys is None:
            return insert + sql.SQL(" ON CONFLICT DO NOTHING") if self.table in {"sku", "location"} else insert
        changed = [sql.Identifier(name) for name, _ in self.columns if name not in keys]
        return insert + sql.SQL(" ON CONFLICT ({}) DO UPDATE SET ({}) = ROW ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, keys)),
            sql.SQL(", ").join(changed),
            sql.SQL(", ").join(sql.SQL("excluded.{}").format(name) for name in changed),
        )


async def batches(job: Job) -> Job:
    """Writes the rows of the service's last batch again and again, each time as new; seconds of each transaction."""
    with psycopg.connect(job["grouped_url"]) as source:
        (head,) = _one(source, "SELECT revision FROM log_head")
        since = head - job["reservations"]
        rows = [_read(source, table, where.format(since=since)) for table, where in _WRITTEN.items()]
        nouns = [_read(source, table, "true") for table in ("sku", "location")]
    events = len(rows[0].values[0])
    assert events == 2 * job["reservations"], f"the log does not end with one batch: {events} events"
    seconds = []
    with psycopg.connect(job["bare_url"], autocommit=True) as target:
        for each in nouns:
            target.execute(each.statement(), each.values)
        (reached,) = _one(target, "SELECT greatest(revision, %s) FROM log_head", head)
        for number in range(1, job["calls"] + 1):
            later = reached - since + number * job["reservations"]
            ids: dict[str, str] = {}
            fresh = [each.renamed(later=later, ids=ids) for each in rows]
            statements = [each.statement() for each in fresh]
            begun = perf_counter()
            with target.transaction(), target.pipeline():
                for statement, each in zip(statements, fresh, strict=True):
                    target.execute(statement, each.values, prepare=True)
                target.execute("UPDATE log_head SET revision = %s", (head + later,))
            seconds.append(perf_counter() - begun)
    return {"seconds": seconds}


async def flushes(job: Job) -> Job:
    """Commits that change one row, one after the other; seconds of each."""
    seconds = []
    with psycopg.connect(job["bare_url"], autocommit=True) as connection:
        for _ in range(job["calls"]):
            begun = perf_counter()
            connection.execute("UPDATE log_head SET record_time = now()", prepare=True)
            seconds.append(perf_counter() - begun)
    return {"seconds": seconds}


def _read(connection: Connection, table: str, where: str) -> _Rows:
    described = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (table,),
    ).fetchall()
    shown = sql.SQL(", ").join(_cast(name, _travels_as(kind)) for name, kind in described)
    query = sql.SQL("SELECT {} FROM {} WHERE " + where).format(shown, sql.Identifier(table))
    found = connection.execute(query).fetchall()
    return _Rows(table, described, [list(column) for column in zip(*found, strict=True)])


def _cast(name: str, kind: str) -> sql.Composed:
    return sql.SQL("{}::" + kind).format(sql.Identifier(name))


def _travels_as(kind: str) -> str:
    return "text" if kind.endswith("[]") or kind == "jsonb" else kind


def _one(connection: Connection, query: str, *values: object) -> tuple[Any, ...]:
    row = connection.execute(query, values).fetchone()
    assert row is not None, f"no row: {query}"
    return row
