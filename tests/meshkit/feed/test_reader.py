from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

from meshkit.db.engine import make_engine
from meshkit.log.reader import balances_as_of, read_events, read_head, revision_at
from tests.meshkit.feed.events import T0

SIZES = (1, 2, 5, 1, 3)
"""Events of the revisions 1 to 5."""


@pytest.fixture
def log_url(tally_url: str) -> str:
    """Five revisions, ten seconds apart; every event adds 1 to the key of its index."""
    balances: dict[str, int] = {}
    with psycopg.connect(tally_url) as connection:
        for revision, size in enumerate(SIZES, start=1):
            for index in range(size):
                key = f"k{index}"
                balances[key] = balances.get(key, 0) + 1
                connection.execute(
                    """
                    INSERT INTO log_event
                    VALUES (%s, %s, 'tally', %s, '', '{1}', %s, '', '', '', '', '', '', %s, %s, %s)
                    """,
                    (revision, index, key, [balances[key]], T0, at(revision), b"" if index == 0 else None),
                )
        connection.execute("UPDATE log_head SET revision = 5, record_time = %s", (at(5),))
    return tally_url


def at(revision: int) -> datetime:
    return T0 + timedelta(seconds=10 * revision)


@pytest.mark.parametrize(
    ("after", "events_max", "revisions"),
    [
        (0, 100, [1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5]),
        (0, 12, [1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5]),
        (0, 11, [1, 2, 2, 3, 3, 3, 3, 3, 4]),
        (0, 3, [1, 2, 2]),
        (0, 2, [1]),
        (1, 4, [2, 2]),
        (2, 1, [3, 3, 3, 3, 3]),  # one revision is larger than the page
        (4, 100, [5, 5, 5]),
        (5, 100, []),
    ],
)
async def test_a_page_has_whole_revisions(log_url: str, after: int, events_max: int, revisions: list[int]) -> None:
    engine = make_engine(log_url)
    page = await read_events(engine, after, events_max=events_max)
    await engine.dispose()
    assert [event.revision for event in page.events] == revisions
    assert page.covers_to == (revisions[-1] if revisions else after)
    assert page.head.revision == 5
    assert not page.has_gap


async def test_a_page_says_when_the_next_revision_is_not_retained(log_url: str) -> None:
    engine = make_engine(log_url)
    with psycopg.connect(log_url) as connection:
        connection.execute("DELETE FROM log_event WHERE revision <= 3")
    assert [(await read_events(engine, after, events_max=9)).has_gap for after in range(6)] == [True] * 3 + [False] * 3
    with psycopg.connect(log_url) as connection:
        connection.execute("DELETE FROM log_event")
    assert [(await read_events(engine, after, events_max=9)).has_gap for after in (4, 5)] == [True, False]
    await engine.dispose()


async def test_the_head_of_an_empty_log_is_revision_zero(tally_url: str) -> None:
    engine = make_engine(tally_url)
    assert (await read_head(engine)).revision == 0
    page = await read_events(engine, 0, events_max=9)
    assert (page.events, page.has_gap) == ([], False)
    assert await revision_at(engine, T0) == 0
    await engine.dispose()


async def test_the_revision_at_a_time_is_the_last_one_recorded_by_then(log_url: str) -> None:
    engine = make_engine(log_url)
    moments = [
        T0,
        at(1) - timedelta(microseconds=1),
        *(at(revision) for revision in range(1, 6)),
        at(3) + timedelta(seconds=5),
        at(99),
    ]
    assert [await revision_at(engine, moment) for moment in moments] == [0, 0, 1, 2, 3, 4, 5, 3, 5]
    await engine.dispose()


async def test_balances_are_those_after_the_last_change_by_a_revision(log_url: str) -> None:
    engine = make_engine(log_url)
    assert await balances_as_of(engine, ["k0", "k1", "k4", "none", "k0"], 4) == {
        "k0": (4, (4,)),
        "k1": (3, (2,)),
        "k4": (3, (1,)),
    }
    assert await balances_as_of(engine, ["k0"], 0) == {}
    await engine.dispose()
