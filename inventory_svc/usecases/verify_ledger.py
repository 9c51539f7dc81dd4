"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.store.ledger import check_levels, check_reservations, check_sellable
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
    for check in (check_levels, check_sellable, check_reservations):
        after: dict[str, object] = {}
        while True:
            problems, count, after = await check(engine, after)
            rows += count
            yield Step(min(checked, head.revision), head.revision, rows, tuple(problems))
            if not after:
                break
    yield Step(min(checked, head.revision), head.revision, rows, (), done=True)
