"""How a server begins, is probed, bears load and ends."""
# ruff: noqa: ANN401 — messages of a service that is put together at run time have no type

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from meshkit.core.errors import MeshError, TooManyRequests, Unavailable
from meshkit.rpc.call import Call
from meshkit.rpc.channel import resolvable
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import CannotListen, MeshServer
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected
from tests.meshkit.rpc.echo import ECHO, EchoRequest, EchoResponse, EchoStub, Stack, echo_stack

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_taken_address_is_a_readable_error(stack: Stack) -> None:
    metrics = Metrics()
    server = MeshServer(
        [],
        listen=stack.target,
        interceptors=Interceptors(verifier=None, metrics=metrics, tracing=Tracing()),
        health=Health(services=(), checks={}, metrics=metrics),
    )
    with pytest.raises(CannotListen, match=f"cannot listen on {stack.target}: the address is taken"):
        await server.start()


async def test_health_follows_the_checks_of_the_dependencies(tmp_path: Path) -> None:
    is_well = True

    async def check() -> None:
        if not is_well:
            raise Unavailable("the database does not answer")

    async with echo_stack(tmp_path, checks={"database": check}) as stack, stack.bare_channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        named = health_pb2.HealthCheckRequest(service=ECHO.full_name)
        watch = health.Watch(named)
        assert (await watch.read()).status == SERVING
        is_well = False
        await stack.health.check_once()
        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        assert [(each.name, each.fault) for each in stack.health.findings] == [
            ("database", "the database does not answer")
        ]
        is_well = True
        await stack.health.check_once()
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_fault_of_a_driver_is_shown_by_its_class_only(tmp_path: Path) -> None:
    async def check() -> None:
        raise OSError("connect to 10.0.0.1 as root with hunter2")

    async with echo_stack(tmp_path, checks={"database": check}) as stack:
        assert [each.fault for each in stack.health.findings] == ["OSError"]
        assert stack.health.ready is False


async def test_health_of_an_unknown_service_is_not_found(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    await stack.until_idle()
    expected = 'rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="NOT_FOUND"} 1.0'
    assert expected in stack.metrics.expose().decode()


async def test_reflection_lists_the_services_without_a_token(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        make_stub: Any = reflection_pb2_grpc.ServerReflectionStub  # its types know only the synchronous channel
        stub = make_stub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        reply = await call.read()
    assert [each.name for each in reply.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "meshtest.echo.v1.EchoService",
    ]


async def test_drain_says_not_serving_then_goodbye_then_ends(tmp_path: Path) -> None:
    goodbye = asyncio.Event()
    order: list[str] = []

    async def say_goodbye() -> None:
        order.append("goodbye")
        goodbye.set()

    async def follow_until_goodbye(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
        yield EchoResponse(text="hello")
        await goodbye.wait()
        yield EchoResponse(text="goodbye, resume at 7")

    async with echo_stack(tmp_path, on_drain=[say_goodbye]) as stack, stack.bare_channel() as channel:
        stack.servicer.follow = follow_until_goodbye
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stream = EchoStub(channel).Follow(EchoRequest(), metadata=stack.authorization)
        assert (await stream.read()).text == "hello"
        draining = asyncio.create_task(stack.server.drain(wait_seconds=0.05, grace_seconds=30.0))
        assert (await watch.read()).status == NOT_SERVING
        order.append("not serving")
        assert (await stream.read()).text == "goodbye, resume at 7"
        assert await stream.read() is grpc.aio.EOF
        # Far below the grace: a health watch, which never ends by itself, does not hold the process up.
        async with asyncio.timeout(5):
            await draining
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE
    assert order == ["not serving", "goodbye"]


async def test_call_that_runs_when_the_drain_begins_is_answered(stack: Stack) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: Any, _call: Call) -> Any:
        begun.set()
        await go_on.wait()
        return EchoResponse(text="done")

    stack.servicer.echo = wait
    async with stack.channel() as channel:
        calling = asyncio.ensure_future(EchoStub(channel).Echo(EchoRequest()))
        await begun.wait()
        draining = asyncio.create_task(stack.server.drain(wait_seconds=0.0, grace_seconds=30.0))
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await calling).text == "done"
        await draining


async def test_5000_calls_at_once_see_only_ok_and_resource_exhausted(stack: Stack) -> None:
    calls, bound = 5_000, 500
    arrived, all_arrived = 0, asyncio.Event()

    async def work_within_a_bound(_request: Any, _call: Call) -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == calls:
            all_arrived.set()
        if arrived > bound:
            raise TooManyRequests("the queue is full")
        await all_arrived.wait()
        return EchoResponse()

    stack.servicer.echo = work_within_a_bound
    async with stack.bare_channel() as channel:
        stub = EchoStub(channel)

        async def outcome() -> str:
            try:
                await stub.Echo(EchoRequest(), timeout=60, metadata=stack.authorization)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        outcomes = Counter(await asyncio.gather(*(outcome() for _ in range(calls))))
    assert outcomes == {"OK": bound, "RESOURCE_EXHAUSTED": calls - bound}


async def test_cancelled_streams_leave_no_task_and_no_generator(stack: Stack) -> None:
    ended = 0

    async def follow_for_ever(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
        nonlocal ended
        try:
            while True:
                yield EchoResponse(text="x" * 1000)
                await asyncio.sleep(0.001)
        finally:
            ended += 1

    stack.servicer.follow = follow_for_ever
    async with stack.channel() as channel:
        stub = EchoStub(channel)
        for _ in range(50):
            stream = stub.Follow(EchoRequest())
            async for _reply in stream:
                stream.cancel()
                break
        async with asyncio.timeout(5):
            # One task of this name for each call that is being served. noqa below: grpc tells nobody when one ends.
            while any(task.get_name().startswith("HandleExceptions[") for task in asyncio.all_tasks()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert ended == 50


async def test_stream_that_is_cancelled_from_elsewhere_ends_without_an_error(stack: Stack) -> None:
    async def follow_for_ever(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
        yield EchoResponse(text="first")
        await asyncio.Event().wait()

    stack.servicer.follow = follow_for_ever
    async with stack.channel() as channel:
        stream = EchoStub(channel).Follow(EchoRequest())
        texts = []
        async for reply in stream:
            texts.append(reply.text)
            asyncio.get_running_loop().call_soon(stream.cancel)
        assert texts == ["first"]


async def test_calls_go_in_turn_to_every_process(tmp_path: Path, stack: Stack) -> None:
    async with echo_stack(tmp_path) as other, connected([stack.target, other.target]) as channel:
        stub = EchoStub(channel)
        async with asyncio.timeout(10):  # a connection may take a moment; from then on they alternate
            while not (stack.servicer.calls and other.servicer.calls):
                await stub.Greet(EchoRequest())
        stack.servicer.calls.clear()
        other.servicer.calls.clear()
        for _ in range(20):
            await stub.Greet(EchoRequest())
    assert (len(stack.servicer.calls), len(other.servicer.calls)) == (10, 10)


@pytest.mark.parametrize(
    ("targets", "target"),
    [
        ("127.0.0.1:1", "ipv4:127.0.0.1:1"),
        (["127.0.0.1:1", "127.0.0.2:2"], "ipv4:127.0.0.1:1,127.0.0.2:2"),
        (["[::1]:1", "[::2]:2"], "ipv6:[::1]:1,[::2]:2"),
        ("dns:///inventory:50051", "dns:///inventory:50051"),
        ("localhost:50051", "localhost:50051"),
    ],
)
def test_targets_become_what_grpc_resolves(targets: str | list[str], target: str) -> None:
    assert resolvable(targets) == target


def test_several_names_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="several targets must all be IPv4 or all IPv6 addresses with a port"):
        resolvable(["a:1", "b:2"])


async def test_rpc_without_keys_refuses_but_health_answers() -> None:
    metrics = Metrics()
    health = Health(services=(), checks={}, metrics=metrics)
    server = MeshServer(
        [],
        listen="127.0.0.1:0",
        interceptors=Interceptors(verifier=None, metrics=metrics, tracing=Tracing()),
        health=health,
    )
    await server.start()
    await health.check_once()
    async with connected(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        with pytest.raises(MeshError) as raised:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert raised.value.reason == "NOT_FOUND"
    await server.drain(wait_seconds=0.0, grace_seconds=0.0)
