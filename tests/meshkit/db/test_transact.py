"""Transactions that are done again whole, and queries that survive a restart of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meshkit.core.errors import Unavailable
from meshkit.db.attempts import ATTEMPTS_MAX
from meshkit.db.engine import make_engine
from meshkit.db.faults import is_passing
from meshkit.db.read import read
from meshkit.db.transact import transact
from tests.faults.proxy import wire_to

END_MYSELF = text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """A database with one table."""
    url = make_database("inventory")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (n integer PRIMARY KEY)")
    return url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """A pool of one connection."""
    engine = make_engine(url, connections_max=1)
    yield engine
    await engine.dispose()


async def insert(engine: AsyncEngine, faults: int, sql: str = "SELECT pg_terminate_backend(pg_backend_pid())") -> int:
    """Inserts a row in a transaction that meets a fault so many times; answers how often it began."""
    begun = 0

    async def work(connection: AsyncConnection) -> int:
        nonlocal begun
        begun += 1
        await connection.execute(text("INSERT INTO t VALUES (1)"))
        if begun <= faults:
            await connection.execute(text(sql))
        return begun

    return await transact(engine, work)


async def numbers(engine: AsyncEngine) -> list[int]:
    return [row[0] for row in await read(engine, text("SELECT n FROM t ORDER BY n"), {})]


@pytest.mark.parametrize("faults", [0, 1, ATTEMPTS_MAX - 1])
async def test_a_transaction_whose_connection_breaks_is_done_again_whole(engine: AsyncEngine, faults: int) -> None:
    assert await insert(engine, faults) == faults + 1
    assert await numbers(engine) == [1]


async def test_a_fault_that_does_not_pass_is_unavailable(engine: AsyncEngine) -> None:
    with pytest.raises(Unavailable):
        await insert(engine, ATTEMPTS_MAX)
    assert await numbers(engine) == []


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57014", "25P03", "25P04", "57P01", "08006", "53300"])
async def test_states_that_pass_are_tried_again(engine: AsyncEngine, state: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
    assert await insert(engine, 1, raising) == 2


@pytest.mark.parametrize("state", ["23505", "42601", "22012", "XX000", "53100"])
async def test_states_that_do_not_pass_are_raised_at_once(engine: AsyncEngine, state: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(DBAPIError):
        await insert(engine, 99, raising)
    assert await numbers(engine) == []


async def test_a_refused_row_is_not_tried_again(engine: AsyncEngine) -> None:
    await insert(engine, 0)
    with pytest.raises(IntegrityError):
        await insert(engine, 0)


async def test_an_error_of_our_own_rolls_back(engine: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO t VALUES (1)"))
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await transact(engine, work)
    assert await numbers(engine) == []


async def test_a_query_survives_the_loss_of_its_connection(engine: AsyncEngine, url: str) -> None:
    (row,) = await read(engine, text("SELECT pg_backend_pid()"), {})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [row[0]])
    assert await numbers(engine) == []


async def test_a_query_says_unavailable_while_the_database_is_gone_and_works_when_it_is_back(url: str) -> None:
    async with wire_to(url) as wire:
        engine = make_engine(wire.url)
        assert await numbers(engine) == []
        wire.refusing = True
        wire.cut()
        with pytest.raises(Unavailable):
            await numbers(engine)
        wire.refusing = False
        assert await numbers(engine) == []
        await engine.dispose()


async def test_a_pool_that_is_used_up_says_unavailable(url: str) -> None:
    engine = make_engine(url, connections_max=1, wait_seconds_max=0.05)
    async with engine.connect():
        with pytest.raises(Unavailable):
            await numbers(engine)
    await engine.dispose()


async def test_a_query_is_one_statement_of_its_own(engine: AsyncEngine) -> None:
    assert (await read(engine, text("SHOW transaction_isolation"), {}))[0][0] == "read committed"
    assert (await read(engine, text("SELECT pg_current_xact_id_if_assigned() IS NULL"), {}))[0][0] is True
    assert (await read(engine, text("SHOW statement_timeout"), {}))[0][0] == "10s"


def test_a_cancelled_task_is_no_passing_fault() -> None:
    assert not is_passing(asyncio.CancelledError())
    assert not is_passing(ValueError())
    assert is_passing(ConnectionResetError())
    assert is_passing(psycopg.OperationalError("server closed the connection unexpectedly"))
