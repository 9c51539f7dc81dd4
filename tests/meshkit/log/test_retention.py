"""What is forgotten: old answers and old fences, never events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meshkit.core.clock import ManualClock
from meshkit.db.engine import make_engine
from meshkit.log import retention
from meshkit.log.model import Fence
from meshkit.log.retention import Retention
from tests.meshkit.log.tally import Add, Database, Kernel, adds, command, running

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


async def test_only_what_is_older_than_a_week_is_deleted(database: Database) -> None:
    clock = ManualClock(T0)
    kernel = Kernel(database.url, clock=clock)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "old", fence=Fence("old-saga", 1)))
        await kernel.submit(command(Add("k"), "kept", fence=Fence("renewed-saga", 1)))
        clock.advance(timedelta(microseconds=1))
        await kernel.submit(command(Add("k"), "new", fence=Fence("renewed-saga", 2)))
    clock.advance(WEEK)
    database.rows("UPDATE log_request SET record_time = record_time + interval '1us' WHERE request_id = 'kept'")
    engine = make_engine(database.url)
    assert await Retention(engine=engine, clock=clock).delete_some() == 1
    assert await Retention(engine=engine, clock=clock).delete_some() == 0
    await engine.dispose()
    assert {row[0] for row in database.rows("SELECT request_id FROM log_request")} == {"kept", "new"}
    assert database.rows("SELECT saga_id FROM log_saga_fence") == [("renewed-saga",)]
    assert database.counts()["log_event"] == 3


async def test_a_request_that_was_forgotten_is_a_new_one(database: Database) -> None:
    clock = ManualClock(T0)
    kernel = Kernel(database.url, clock=clock)
    engine = make_engine(database.url)
    async with running(kernel):
        await kernel.submit(command(Add("k"), "same"))
        clock.advance(WEEK + timedelta(seconds=1))
        await Retention(engine=engine, clock=clock).delete_some()
        answer = await kernel.submit(command(Add("k"), "same"))
    await engine.dispose()
    assert (answer.reply, answer.repeated) == (b"2", False)


async def test_rows_are_deleted_a_few_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_MAX", 4)
    clock = ManualClock(T0)
    kernel = Kernel(database.url, clock=clock)
    async with running(kernel):
        await kernel.submit_all(adds(10))
    clock.advance(2 * WEEK)
    engine = make_engine(database.url)
    deleted = [await Retention(engine=engine, clock=clock).delete_some() for _ in range(4)]
    await engine.dispose()
    assert deleted == [4, 4, 2, 0]
