"""The state in pages, for the beginning of a stream: levels first, then what channels may sell.

Each page is one short statement that also reads the log's head, so no transaction stays open and every row is exactly
what it was at that head. Lapsed holds are not given back here: their expiry comes as an event within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.stock import Counters, Level, LevelKey, Sellable
from inventory_svc.store.keys import LEVEL, SELLABLE, SEPARATOR, level_key, sellable_key
from meshkit.db.read import read
from meshkit.log.model import Head

PAGE_ROWS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class StockSelection:
    """Which rows and deltas: an empty set means all of its kind."""

    skus: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    levels: bool = True
    sellable: bool = True


class SellableKey(NamedTuple):
    """Names what a channel may sell of a SKU."""

    sku: str
    channel: str


@dataclass(frozen=True, slots=True)
class StatePage:
    """Rows of one of the two kinds in order of key, the key that the next page begins behind, and the head."""

    levels: Sequence[tuple[LevelKey, Level]]
    sellable: Sequence[tuple[SellableKey, Sellable]]
    next_key: str
    last: bool
    head: Head


BEFORE_SELLABLE = sellable_key("", "")
"""Sorts before every row of its kind."""


async def read_state_page(engine: AsyncEngine, selection: StockSelection, after_key: str) -> StatePage:
    """At most `PAGE_ROWS_MAX` rows behind a key of an earlier page; the first ones behind an empty key.

    Raises:
        ValueError: the key is none of a page.
        Unavailable
    """
    noun, *codes = after_key.split(SEPARATOR) if after_key else (LEVEL, "", "", "")
    if noun == LEVEL and selection.levels:
        return await _level_page(engine, selection, LevelKey(*_exactly(3, codes)))
    if noun not in {LEVEL, SELLABLE}:
        raise ValueError(f"no row has a key like {noun}")
    return await _sellable_page(engine, selection, SellableKey(*_exactly(2, codes if noun == SELLABLE else ["", ""])))


def _exactly(count: int, codes: list[str]) -> list[str]:
    if len(codes) != count:
        raise ValueError(f"{len(codes)} codes where {count} belong")
    return codes


async def _level_page(engine: AsyncEngine, selection: StockSelection, after: LevelKey) -> StatePage:
    conditions, order = [], "sku, location, lot"
    if selection.skus:
        conditions.append("AND sku = ANY(CAST(:skus AS text[]))")
    if selection.locations:
        conditions.append("AND location = ANY(CAST(:locations AS text[]))")
        if not selection.skus:
            order = "location, sku, lot"  # the index by location finds them without a look at the others
    sql = f"""
        SELECT {_HEAD_COLUMNS}, page.*
        FROM log_head AS head LEFT JOIN LATERAL (
            SELECT sku, location, lot, on_hand, unavailable, reserved, allocated, revision
            FROM stock_level
            WHERE ({order}) > ({_ORDERED[order]}) {" ".join(conditions)}
            ORDER BY {order} LIMIT {PAGE_ROWS_MAX}
        ) AS page ON true
        ORDER BY {order}"""
    head, rows = await _page(engine, sql, after._asdict() | _lists(selection, "skus", "locations"))
    levels = [(LevelKey(*row[:3]), Level(Counters(*row[3:7]), row[7])) for row in rows]
    full = len(levels) == PAGE_ROWS_MAX
    next_key = level_key(levels[-1][0]) if full else BEFORE_SELLABLE
    return StatePage(levels, (), next_key, last=not full and not selection.sellable, head=head)


async def _sellable_page(engine: AsyncEngine, selection: StockSelection, after: SellableKey) -> StatePage:
    conditions = []
    if not selection.sellable:
        conditions.append("AND false")
    if selection.skus:
        conditions.append("AND sku = ANY(CAST(:skus AS text[]))")
    if selection.channels:
        conditions.append("AND channel = ANY(CAST(:channels AS text[]))")
    sql = f"""
        SELECT {_HEAD_COLUMNS}, page.*
        FROM log_head AS head LEFT JOIN LATERAL (
            SELECT sku, channel, units, revision
            FROM sellable
            WHERE (sku, channel) > (:sku, :channel) {" ".join(conditions)}
            ORDER BY sku, channel LIMIT {PAGE_ROWS_MAX}
        ) AS page ON true
        ORDER BY sku, channel"""
    head, rows = await _page(engine, sql, after._asdict() | _lists(selection, "skus", "channels"))
    entries = [(SellableKey(*row[:2]), Sellable(*row[2:])) for row in rows]
    next_key = sellable_key(*entries[-1][0]) if entries else sellable_key(*after)
    return StatePage((), entries, next_key, last=len(entries) < PAGE_ROWS_MAX, head=head)


_HEAD_COLUMNS = "head.log_id::text, head.revision, head.record_time, head.hash"
_HEAD_COLUMNS_COUNT = 4
_ORDERED = {"sku, location, lot": ":sku, :location, :lot", "location, sku, lot": ":location, :sku, :lot"}


def _lists(selection: StockSelection, *names: str) -> dict[str, list[str]]:
    return {name: sorted(values) for name in names if (values := getattr(selection, name))}


async def _page(engine: AsyncEngine, sql: str, parameters: dict[str, Any]) -> tuple[Head, list[tuple[Any, ...]]]:
    """The head stands in every row, and alone in the one row of an empty page."""
    rows = await read(engine, text(sql), parameters)
    found = [row[_HEAD_COLUMNS_COUNT:] for row in rows if row[_HEAD_COLUMNS_COUNT] is not None]
    log_id, revision, record_time, digest = rows[0][:_HEAD_COLUMNS_COUNT]
    return Head(log_id, revision, record_time, digest), found
