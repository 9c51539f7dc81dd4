"""Processes that are killed, stopped, doubled and flooded."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from beautymesh.inventory.v1 import inventory_pb2_grpc
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.errors import MeshError
from meshkit.db.migrations import migrate
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.tokens import ensure_keys
from tests.channels import reached
from tests.embedded import Embedded
from tests.faults.buyers import Buyers, assert_nothing_lost_and_nothing_twice, stock_up
from tests.faults.machine import free_port
from tests.inventory.clients import client
from tests.processes import Stack, process_beside
from tests.sizes import SIZES, seeded

SKUS = [f"SKU-{number}" for number in range(20)]


@pytest.fixture
def stack(embedded: Embedded, tmp_path: Path) -> Iterator[Stack]:
    """A migrated database of the test's own."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    yield Stack(url, embedded.redis_url, ensure_keys(tmp_path), tmp_path)
    embedded.drop_database(url)


async def test_a_service_that_is_killed_under_load_loses_nothing_and_does_nothing_twice(stack: Stack) -> None:
    random = seeded("kill under load")
    listen = f"127.0.0.1:{free_port()}"
    token = stack.token()
    async with grpc_channel(listen, token=lambda: token) as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        buyers = Buyers([stub], SKUS, random)
        async with process_beside(stack, grpc_listen=listen):
            await reached(channel)
            await stock_up(stub, SKUS, 1_000_000)
        async with buyers.buying(40):
            for _ in range(SIZES.kill_under_load_rounds):
                async with process_beside(stack, grpc_listen=listen) as service:
                    await buyers.answered(200 + random.randrange(200))
                    service.kill()
            async with process_beside(stack, grpc_listen=listen):
                await buyers.answered(100)
                await buyers.stop()
                await assert_nothing_lost_and_nothing_twice(buyers, stub, stack.database_url)
    assert buyers.passing.get("UNAVAILABLE", 0) > 0, "nobody noticed: the test did not test"
    assert buyers.repeats > 0
    assert buyers.refusals == set()


async def test_two_processes_share_one_log(stack: Stack) -> None:
    random = seeded("two processes")
    async with (
        process_beside(stack) as one,
        process_beside(stack) as other,
        client(stack, one.target) as at_one,
        client(stack, other.target) as at_other,
    ):
        await stock_up(at_one, SKUS, 1_000_000)
        buyers = Buyers([at_one, at_other], SKUS, random)
        await asyncio.gather(*[buyers.buy(again=0.5) for _ in range(400)])
        await assert_nothing_lost_and_nothing_twice(buyers, at_other, stack.database_url)
    assert (len(buyers.answers), buyers.refusals, buyers.passing) == (400, set(), {})


async def test_a_process_that_stands_still_with_the_lock_stops_the_others_for_two_seconds_at_most(stack: Stack) -> None:
    random = seeded("standing still")

    def named(name: str) -> str:
        return f"{stack.database_url}&application_name={name}"

    with psycopg.connect(stack.database_url, autocommit=True) as eye:
        async with (
            process_beside(stack, database_url=named("paused")) as paused,
            process_beside(stack, database_url=named("other")) as other,
            client(stack, paused.target) as at_paused,
            client(stack, other.target) as at_other,
        ):
            await stock_up(at_other, SKUS, 1_000_000)

            async def stops_the_other() -> bool:
                """Whether the paused process keeps the other one waiting for the lock, now and a moment later."""
                sql = (
                    "SELECT count(*) FROM pg_stat_activity waiting, unnest(pg_blocking_pids(waiting.pid)) holder_pid "
                    "JOIN pg_stat_activity holder ON holder.pid = holder_pid WHERE waiting.application_name = 'other' "
                    "AND holder.application_name = 'paused' AND holder.wait_event = 'ClientRead'"
                )
                for _ in range(2):
                    if not (eye.execute(sql.encode()).fetchone() or (0,))[0]:
                        return False
                    await asyncio.sleep(0.05)
                return True

            loop = asyncio.get_running_loop()
            both = Buyers([at_paused], SKUS, random)
            load = Buyers([at_other], SKUS, random)
            async with both.buying(10), load.buying(10):
                async with asyncio.timeout(60):
                    while True:
                        await both.answered(1)
                        paused.send(signal.SIGSTOP)
                        stopped = loop.time()
                        await asyncio.sleep(0.02)
                        if await stops_the_other():
                            break
                        paused.send(signal.SIGCONT)
                await load.answered(1)
                waited_seconds = loop.time() - stopped
                paused.send(signal.SIGCONT)
                await both.answered(50)
            load.answers |= both.answers
            load.changed += both.changed
            await assert_nothing_lost_and_nothing_twice(load, at_other, stack.database_url)
    assert waited_seconds < 10  # else it would be for ever


async def test_thousands_of_calls_at_once_see_only_ok_and_too_many(stack: Stack) -> None:
    random = seeded("five thousand")
    async with process_beside(stack) as service, client(stack, service.target) as stub:
        await stock_up(stub, SKUS, 1_000_000)
        buyers = Buyers([stub], SKUS, random)
        seen: dict[str, int] = {}
        said: set[str] = set()

        async def call() -> None:
            try:
                await buyers.buy_once()
                seen["OK"] = seen.get("OK", 0) + 1
            except MeshError as refused:
                seen[refused.reason] = seen.get(refused.reason, 0) + 1
                said.update(getattr(refused, "__notes__", ()))

        await asyncio.gather(*[call() for _ in range(SIZES.calls_at_once)])
        assert set(seen) <= {"OK", "TOO_MANY_REQUESTS"}, (seen, said)
        assert sum(seen.values()) == SIZES.calls_at_once
        assert seen["OK"] >= 1_000
        await assert_nothing_lost_and_nothing_twice(buyers, stub, stack.database_url)
