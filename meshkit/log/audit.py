"""Is the log whole, and do the projections say what it says? The check that every service offers as an RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.db.read import read
from meshkit.log.model import EventRow
from meshkit.log.reader import read_events, read_head
from meshkit.log.verify import ChainCheck, Problem

PAGE_EVENTS: Final = 5_000
PAGE_ROWS: Final = 1_000
SHOWN_CHARACTERS_MAX: Final = 500
"""What a problem shows of a noun."""

Position: TypeAlias = dict[str, object]
"""The key of the last row of a page, as parameters; empty before the first page and after the last."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is wrong with some rows, how many they were, their keys in the log, and where the next page begins."""

    problems: list[Problem]
    rows: int
    keys: frozenset[str]
    next: Position


Check: TypeAlias = Callable[[AsyncEngine, Position], Awaitable[Page]]
"""Checks one page of a projection, read by one statement, so that rows and events are of one moment."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far the check is and what it found since the last step."""

    checked_revision: int
    head_revision: int
    checked_rows: int
    problems: tuple[Problem, ...]
    done: bool = False


def nothing_made(_event: EventRow) -> tuple[str, ...]:
    """Every row of the service has a balance in the log."""
    return ()


async def audit(
    engine: AsyncEngine,
    checks: Sequence[Check],
    *,
    readable: Callable[[str], str],
    made: Callable[[EventRow], Iterable[str]] = nothing_made,
) -> AsyncIterator[Step]:
    """First the log up to the head of the beginning, then the projections as they are when their page is read.

    May run beside any load: it locks nothing, and commands that commit meanwhile do not disturb it. `readable` says a
    key of the log as the pages say it; `made` are the keys of rows without a balance of which an event tells: their
    pages must name them too.
    """
    head = await read_head(engine)
    chain = ChainCheck()
    checked, rows = 0, 0
    nouns: set[str] = set()
    while checked < head.revision:
        page = await read_events(engine, checked, events_max=PAGE_EVENTS)
        if not page.events:
            missing = Problem("the log reaches its head", f"revision {checked + 1}", "events", "none")
            yield Step(checked, head.revision, rows, (missing,))
            break
        problems = chain.take(page.events)
        nouns.update(key for event in page.events for key in made(event))
        checked = page.events[-1].revision
        if checked == page.head.revision and chain.hash != page.head.hash:
            expected = chain.hash.hex() if chain.hash else "none"
            problems.append(
                Problem("the head holds the last hash", f"revision {checked}", expected, page.head.hash.hex())
            )
        yield Step(min(checked, head.revision), head.revision, rows, tuple(problems))
    unmet = set(chain.balances)
    for check in checks:
        after: Position = {}
        while True:
            found = await check(engine, after)
            rows, after = rows + found.rows, found.next
            unmet -= found.keys
            nouns -= found.keys
            yield Step(min(checked, head.revision), head.revision, rows, tuple(found.problems))
            if not after:
                break
    lost = [Problem("what the log has a balance of has a row", readable(key), "a row", "none") for key in sorted(unmet)]
    lost += [Problem("what the log has made has a row", readable(key), "a row", "none") for key in sorted(nouns)]
    yield Step(min(checked, head.revision), head.revision, rows, tuple(lost), done=True)


async def read_page(
    engine: AsyncEngine, statement: TextClause, after: Position, *, rows_max: int = PAGE_ROWS
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The rows of one page: `statement` takes the position's names and `:rows`. Fewer where a row is large."""
    return await read(engine, statement, {**after, "rows": rows_max})


def next_position(rows: Sequence[Row[*tuple[Any, ...]]], *names: str, rows_max: int = PAGE_ROWS) -> Position:
    """Where the next page begins: the first columns of the last row under these names; empty after a short page."""
    return dict(zip(names, rows[-1], strict=False)) if len(rows) == rows_max else {}


def unless_equal(rule: str, subject: str, expected: object, actual: object) -> list[Problem]:
    """The rule's problem where the two differ."""
    return [] if expected == actual else [Problem(rule, subject, str(expected), str(actual))]


def unless_said(
    rule: str, subject: str, payload: bytes, stored: Message, *, but: Collection[str] = ()
) -> list[Problem]:
    """The rule's problem where a noun, as it is stored, is not what its event's payload says, `but` in these fields.

    It shows only the fields that differ. What a later version of the service has added to a payload counts for nothing.
    """
    said = type(stored)()
    try:
        said.ParseFromString(payload)
    except DecodeError:
        return [Problem(rule, subject, "a payload", "one that cannot be read")]
    names = [field.name for field in stored.DESCRIPTOR.fields if field.name not in but]
    differs = [name for name in names if getattr(said, name) != getattr(stored, name)]
    return [Problem(rule, subject, _shown(said, differs), _shown(stored, differs))] if differs else []


def _shown(message: Message, fields: Collection[str]) -> str:
    part = type(message)()
    part.CopyFrom(message)
    part.DiscardUnknownFields()
    for field in part.DESCRIPTOR.fields:
        if field.name not in fields:
            part.ClearField(field.name)
    shown = text_format.MessageToString(part, as_one_line=True) or f"no {', '.join(fields)}"
    return shown[:SHOWN_CHARACTERS_MAX]
