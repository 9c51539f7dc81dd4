"""PostgreSQL and Valkey that go and come back."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from beautymesh.inventory.v1 import availability_pb2, reservation_pb2, stock_pb2, watch_pb2
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.core.errors import Unavailable
from meshkit.core.ids import new_id
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from tests.channels import reached
from tests.embedded import Embedded
from tests.faults.buyers import LOCATION, Buyers, assert_nothing_lost_and_nothing_twice, stock_up
from tests.faults.machine import Machine, free_port, machine
from tests.faults.proxy import wire_to
from tests.inventory.clients import client
from tests.processes import Process, Stack, process_beside
from tests.sizes import seeded

SKUS = [f"SKU-{number}" for number in range(20)]


@pytest.fixture
def stack(embedded: Embedded, tmp_path: Path) -> Iterator[Stack]:
    """A migrated database of the test's own."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    yield Stack(url, embedded.redis_url, ensure_keys(tmp_path), tmp_path)
    embedded.drop_database(url)


@pytest.fixture
def own() -> Iterator[Machine]:
    """Servers that the test may kill."""
    with machine() as own:
        yield own


async def test_a_server_that_is_killed_and_comes_back_costs_nothing_and_no_restart(own: Machine) -> None:
    random = seeded("postgres killed")
    async with process_beside(own.stack) as service, client(own.stack, service.target) as stub:
        await stock_up(stub, SKUS, 1_000_000)
        buyers = Buyers([stub], SKUS, random)
        async with buyers.buying(20):
            await buyers.answered(200)
            await asyncio.to_thread(own.kill_postgres)
            async with asyncio.timeout(20):
                while not buyers.passing.get("UNAVAILABLE"):
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(own.start_postgres)
            await buyers.answered(200)
            await buyers.stop()
        assert buyers.refusals == set()
        await assert_nothing_lost_and_nothing_twice(buyers, stub, own.stack.database_url)


async def test_a_cache_that_is_killed_stops_nothing(own: Machine) -> None:
    random = seeded("valkey killed")
    async with (
        process_beside(own.stack) as one,
        process_beside(own.stack) as other,
        client(own.stack, one.target) as at_one,
        client(own.stack, other.target) as at_other,
    ):
        await stock_up(at_one, SKUS, 1_000)
        stream = at_other.WatchStock(watch_pb2.WatchStockRequest(skip_snapshot=True), timeout=60)
        messages = stream.__aiter__()
        await asyncio.to_thread(own.kill_valkey)
        buyers = Buyers([at_one, at_other], SKUS, random)
        await asyncio.gather(*[buyers.buy() for _ in range(100)])
        assert (len(buyers.answers), buyers.passing, buyers.refusals) == (100, {}, set())
        last = max(
            reservation_pb2.ReserveStockResponse.FromString(answer).revision for answer in buyers.answers.values()
        )
        async with asyncio.timeout(10):  # no hints any more: the poll finds it
            async for message in messages:
                if message.position.covers_to >= last:
                    break
        await asyncio.to_thread(own.start_valkey)
        await buyers.buy()
        await assert_nothing_lost_and_nothing_twice(buyers, at_other, own.stack.database_url)


async def test_a_service_without_a_cache_works(stack: Stack) -> None:
    random = seeded("no valkey")
    async with process_beside(stack, redis_url="") as service, client(stack, service.target) as stub:
        await stock_up(stub, SKUS, 1_000)
        buyers = Buyers([stub], SKUS, random)
        await asyncio.gather(*[buyers.buy() for _ in range(20)])
        await assert_nothing_lost_and_nothing_twice(buyers, stub, stack.database_url)


async def test_while_the_database_is_gone_every_call_is_unavailable_and_says_when_to_come_again(stack: Stack) -> None:
    async with (
        wire_to(stack.database_url) as wire,
        process_beside(stack, database_url=wire.url) as service,
        client(stack, service.target) as stub,
    ):
        await stock_up(stub, SKUS, 10)
        wire.refusing = True
        wire.cut()
        line = reservation_pb2.ReserveLine(sku=SKUS[0], location=LOCATION, quantity=1)
        reserve = reservation_pb2.ReserveStockRequest(request_id=new_id(), lines=[line])
        read = availability_pb2.GetAvailabilityRequest(sku=SKUS[0])
        for name, request in (("ReserveStock", reserve), ("GetAvailability", read)):
            assert await retry_seconds(stack, service, name, request.SerializeToString()) == 1.0
        wire.refusing = False
        async with asyncio.timeout(10):
            while True:
                try:
                    await stub.ReserveStock(reserve)
                    break
                except Unavailable:
                    continue
        found = await stub.GetAvailability(read)
        assert found.availability.sellable == 9


async def retry_seconds(stack: Stack, service: Process, method: str, request: bytes) -> float:
    """What the RetryInfo of an UNAVAILABLE answer says, read from the wire."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        call: Any = (await reached(channel)).unary_unary(f"/beautymesh.inventory.v1.InventoryService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(request, timeout=10, metadata=[("authorization", f"Bearer {stack.token()}")])
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    trailing = dict(failed.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    assert [detail.Unpack(retry) for detail in status.details].count(True) == 1
    assert (info.reason, info.domain) == ("UNAVAILABLE", "beautymesh")
    return retry.retry_delay.ToNanoseconds() / 1e9


async def test_a_service_may_be_started_before_its_database(stack: Stack) -> None:
    async with wire_to(stack.database_url) as wire:
        wire.refusing = True
        listen = f"127.0.0.1:{free_port()}"
        service = stack.process(database_url=wire.url, grpc_listen=listen)
        try:
            async with asyncio.timeout(20):
                while "waiting for the database" not in service.log():
                    await asyncio.sleep(0.02)
                wire.refusing = False
                await asyncio.to_thread(service.wait_until_serving)
            async with client(stack, listen) as stub:
                await stock_up(stub, SKUS, 1)
        finally:
            assert await asyncio.to_thread(service.stop) == 0


async def test_a_service_refuses_a_schema_that_is_too_old_and_says_what_to_run(
    embedded: Embedded, tmp_path: Path
) -> None:
    url = embedded.make_database("inventory")
    service = Stack(url, "", ensure_keys(tmp_path), tmp_path).process()
    try:
        assert await asyncio.to_thread(service.wait) == 1
        assert "run `migrate` first" in service.log()
        assert "Traceback" not in service.log()
    finally:
        service.kill()
        embedded.drop_database(url)


async def test_a_service_that_is_told_to_stop_answers_what_it_has_taken_and_leaves_nobody(stack: Stack) -> None:
    random = seeded("drain")
    async with process_beside(stack) as service, client(stack, service.target) as stub:
        await stock_up(stub, SKUS, 1_000_000)
        buyers = Buyers([stub], SKUS, random)
        calls = [asyncio.create_task(buyers.buy_once()) for _ in range(200)]
        await buyers.answered(1)
        assert await asyncio.to_thread(service.stop) == 0
        refused = [each for each in await asyncio.gather(*calls, return_exceptions=True) if each is not None]
        assert {getattr(each, "reason", each) for each in refused} <= {"UNAVAILABLE"}
    async with process_beside(stack) as again, client(stack, again.target) as stub:
        # What was refused may have happened; nothing that was answered may be missing.
        problems = [p async for s in stub.VerifyLedger(stock_pb2.VerifyLedgerRequest()) for p in s.problems]
        assert problems == []
        for answer in buyers.answers.values():
            reservation_id = reservation_pb2.ReserveStockResponse.FromString(answer).reservation_id
            await stub.GetReservation(reservation_pb2.GetReservationRequest(reservation_id=reservation_id))
