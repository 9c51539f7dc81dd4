"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.store.keys import LEVEL, SEPARATOR
from inventory_svc.store.ledger import Position, check_levels, check_lines, check_reservations, check_sellable
from meshkit.log.reader import read_events, read_head
from meshkit.log.verify import ChainCheck, Problem

PAGE_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """How far the check is and what it found since the last step."""

    checked_revision: int
    head_revision: int
    checked_rows: int
    problems: tuple[Problem, ...]
    done: bool = False


async def verify_ledger(engine: AsyncEngine) -> AsyncIterator[Step]:
    """First the log up to the head of the beginning, then the projections as they are when their page is read.

    May run beside any load: it locks nothing, and commands that commit meanwhile do not disturb it.
    """
    head = await read_head(engine)
    chain = ChainCheck()
    checked, rows = 0, 0
    while checked < head.revision:
        page = await read_events(engine, checked, events_max=PAGE_EVENTS)
        if not page.events:
            missing = Problem("the log reaches its head", f"revision {checked + 1}", "events", "none")
            yield Step(checked, head.revision, rows, (missing,))
            break
        problems = chain.take(page.events)
        checked = page.events[-1].revision
        if checked == page.head.revision and chain.hash != page.head.hash:
            expected = chain.hash.hex() if chain.hash else "none"
            problems.append(
                Problem("the head holds the last hash", f"revision {checked}", expected, page.head.hash.hex())
            )
        yield Step(min(checked, head.revision), head.revision, rows, tuple(problems))
    unmet = set(chain.balances)
    for check in (check_levels, check_sellable, check_reservations, check_lines):
        after: Position = {}
        while True:
            found = await check(engine, after)
            rows, after = rows + found.rows, found.next
            unmet -= found.keys
            yield Step(min(checked, head.revision), head.revision, rows, tuple(found.problems))
            if not after:
                break
    lost = [
        Problem("what the log has a balance of has a row", _readable(key), "a row", "none") for key in sorted(unmet)
    ]
    yield Step(min(checked, head.revision), head.revision, rows, tuple(lost), done=True)


def _readable(key: str) -> str:
    """The subject as the pages of its noun write it."""
    noun, sku, place, *_ = key.split(SEPARATOR)
    return f"{noun} {sku} {'at' if noun == LEVEL else 'in'} {place}"
