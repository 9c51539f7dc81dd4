"""What a call leaves behind for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meshkit.rpc.call import Call
from meshkit.telemetry.tracing import Tracing, current_traceparent
from tests.meshkit.rpc.echo import EchoRequest, EchoResponse, EchoStub, Stack, echo_stack

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_method_works_in_a_span_below_its_callers(stack: Stack) -> None:
    seen: list[str] = []

    async def look(_request: object, _call: Call) -> object:
        seen.append(current_traceparent())
        return EchoResponse()

    stack.servicer.echo = look
    async with stack.channel() as channel:
        await EchoStub(channel).Echo(EchoRequest(), metadata=[("traceparent", PARENT)])
    assert seen == [stack.servicer.calls[0].traceparent]
    assert (seen[0][:36], seen[0][52:]) == (PARENT[:36], PARENT[52:])


async def test_calls_are_counted_by_method_and_status_at_both_ends(stack: Stack) -> None:
    async with stack.channel() as channel:
        await EchoStub(channel).Echo(EchoRequest())
        await EchoStub(channel).Echo(EchoRequest())
    await stack.until_idle()
    page = stack.metrics.expose().decode().splitlines()
    labels = '{rpc_method="meshtest.echo.v1.EchoService/Echo",rpc_response_status_code="OK"}'
    assert f"rpc_server_call_duration_seconds_count{labels} 2.0" in page
    assert f"rpc_client_call_duration_seconds_count{labels} 2.0" in page
    assert 'rpc_server_active_calls{rpc_method="meshtest.echo.v1.EchoService/Echo"} 0.0' in page


async def test_span_of_a_long_stream_ends_with_its_opening(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing.to_exporter(exporter, service="echo")
    go_on = asyncio.Event()

    async def follow(_request: object, _call: Call) -> AsyncGenerator[bytes, None]:
        yield b""
        yield b""
        await go_on.wait()

    async with echo_stack(tmp_path, tracing=tracing) as stack, stack.channel() as channel:
        stack.servicer.follow = follow
        replies = aiter(EchoStub(channel).Follow(EchoRequest()))
        await anext(replies)
        await anext(replies)
        assert tracing.flush() is True
        assert [span.name for span in exporter.get_finished_spans()] == ["meshtest.echo.v1.EchoService/Follow"]
        go_on.set()
        assert [reply async for reply in replies] == []
    tracing.shutdown()
    assert len(exporter.get_finished_spans()) == 1


async def test_health_watch_has_a_span_and_works_while_spans_are_recorded(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing.to_exporter(exporter, service="echo")
    async with echo_stack(tmp_path, tracing=tracing) as stack, stack.bare_channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        await stack.until_idle()
    tracing.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["grpc.health.v1.Health/Watch"]
