"""The cache before the real inventory service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from beautymesh.inventory.v1 import availability_pb2
from edge_gateway.clients.availability import AvailabilityCache
from meshkit.core.errors import MeshError
from tests.edge.availability.conftest import SKUS, edge, fill, reserve
from tests.edge.availability.counted import counted_inventory
from tests.edge.availability.fake import Hand, until
from tests.faults.machine import free_port
from tests.inventory.clients import client
from tests.processes import Stack, process_beside

MakeStack = Callable[[], Stack]


def kept(cache: AvailabilityCache, sku: str) -> tuple[int, int] | None:
    """Revision and quantity in memory."""
    entry = cache.find(sku, "default")
    return None if entry is None else (entry.revision, entry.sellable)


async def test_what_was_read_once_is_kept_as_the_service_says_it(make_stack: MakeStack) -> None:
    stack = make_stack()
    async with process_beside(stack) as service, client(stack, service.target) as stub:
        await fill(stub)
        async with edge(stack, service.target) as cache:
            await cache.get_many(SKUS, "default")
            held = await reserve(stub, "ROUGE", 3)
            await until(lambda: kept(cache, "ROUGE") == (held, 7))
            await until(lambda: cache.position >= held)  # what others hold, too
            found = [cache.find(sku, "default") for sku in SKUS]
            said = await stub.BatchGetAvailability(availability_pb2.BatchGetAvailabilityRequest(skus=SKUS))
            assert [(each.sku, each.channel, each.sellable, each.revision) for each in found if each] == [
                (each.sku, each.channel, each.sellable, each.revision) for each in said.availabilities
            ]
            assert cache.cut([each for each in found if each]) == said.revision


async def test_units_of_a_lapsed_hold_come_back_with_the_stream(make_stack: MakeStack) -> None:
    stack = make_stack()
    async with process_beside(stack) as service, client(stack, service.target) as stub:
        await fill(stub)
        async with edge(stack, service.target) as cache:
            full = await cache.get("ROUGE", "default")
            held = await reserve(stub, "ROUGE", 3, ttl_seconds=1)
            await until(lambda: kept(cache, "ROUGE") == (held + 1, 10))
            assert (full.revision, full.sellable) == (held - 1, 10)


async def test_unknown_names_are_refused_as_the_service_refuses_them(make_stack: MakeStack) -> None:
    stack = make_stack()
    async with process_beside(stack) as service, client(stack, service.target) as stub:
        await fill(stub)
        async with edge(stack, service.target) as cache:
            for sku, channel in (("NONE", "default"), ("ROUGE", "nowhere")):
                with pytest.raises(MeshError) as from_memory:
                    await cache.get(sku, channel)
                with pytest.raises(MeshError) as from_service:
                    await stub.GetAvailability(availability_pb2.GetAvailabilityRequest(sku=sku, channel=channel))
                ours, theirs = from_memory.value, from_service.value
                assert (ours.kind, ours.reason, ours.message, ours.metadata) == (
                    theirs.kind,
                    theirs.reason,
                    theirs.message,
                    theirs.metadata,
                )


async def test_memory_outlives_a_killed_service_and_goes_on_where_it_was(make_stack: MakeStack) -> None:
    stack, clock = make_stack(), Hand()
    listen = f"127.0.0.1:{free_port()}"
    async with process_beside(stack) as other, client(stack, other.target) as stub:
        await fill(stub)
        async with process_beside(stack, grpc_listen=listen) as followed, edge(stack, listen, clock=clock) as cache:
            before = await cache.get("ROUGE", "default")
            followed.kill()
            await until(lambda: cache.is_broken)
            clock.seconds += 30
            held = await reserve(stub, "ROUGE", 3)  # nobody tells us
            assert (kept(cache, "ROUGE"), cache.age_seconds) == ((before.revision, 10), 30.0)
            with pytest.raises(MeshError) as refused:
                await cache.get("BALM", "default")
            assert refused.value.meaning.http_status == 503

            async with process_beside(stack, grpc_listen=listen):
                # Not fetched again: only a delta of the stream that goes on changes what is kept.
                await until(lambda: kept(cache, "ROUGE") == (held, 7), seconds=20)
                assert (cache.is_broken, cache.age_seconds) == (False, 0.0)
                assert (await cache.get("BALM", "default")).sellable == 10


async def test_another_log_at_the_same_address_empties_the_memory(make_stack: MakeStack) -> None:
    stack, foreign = make_stack(), make_stack()
    listen = f"127.0.0.1:{free_port()}"
    async with process_beside(stack, grpc_listen=listen) as followed, client(stack, listen) as stub:
        await fill(stub)
        async with edge(stack, listen) as cache:
            before = await cache.get("ROUGE", "default")
            followed.kill()
            async with process_beside(foreign, grpc_listen=listen):
                await fill(stub, units=2)
                await until(lambda: kept(cache, "ROUGE") is None, seconds=20)
                await until(lambda: not cache.is_broken)
                after = await cache.get("ROUGE", "default")
                assert (before.sellable, after.sellable) == (10, 2)
                assert before.log_tag != after.log_tag


async def test_a_rush_on_what_is_not_in_memory_is_one_call_with_the_edges_own_authority(make_stack: MakeStack) -> None:
    async with counted_inventory(make_stack()) as inventory:
        await fill(inventory.stub)
        async with edge(inventory.stack, inventory.target) as cache:
            entries = await asyncio.gather(*(cache.get(sku, "default") for sku in SKUS * 100))
            assert [entry.sellable for entry in entries] == [10] * 300
            await asyncio.gather(*(cache.get(sku, "default") for sku in SKUS * 100))
    ((request, call),) = inventory.batch_gets
    assert sorted(request.skus) == sorted(SKUS)
    assert (call.principal.subject, call.principal.via) == ("service:edge", "")
