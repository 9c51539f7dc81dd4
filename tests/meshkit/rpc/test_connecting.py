"""How a channel finds a server that is slow to greet, or comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from meshkit.core.errors import Unavailable
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.channels import connected
from tests.meshkit.rpc.echo import ECHO, EchoRequest, EchoResponse, EchoStub, Stack

SLOWLY_SECONDS = 0.3


@contextlib.asynccontextmanager
async def slow_road(target: str) -> AsyncIterator[str]:
    """The server at another address, where each new connection takes a while before its first bytes pass."""

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while read := await reader.read(65_536):
                writer.write(read)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SLOWLY_SECONDS)
        host, _, port = target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(passed_on(reader, there_writer), passed_on(there_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def test_server_that_is_slow_to_shake_hands_is_waited_for(stack: Stack) -> None:
    async with slow_road(stack.target) as target, connected(target, token=lambda: stack.token) as channel:
        assert (await EchoStub(channel).Greet(EchoRequest(text="you"), timeout=10)).text == "hello you"
    assert len(stack.servicer.calls) == 1


async def test_a_channel_does_not_wait_for_the_pause_of_another_one(stack: Stack, unused_tcp_port: int) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"
    async with grpc_channel(target) as unlucky:
        for _ in range(20):  # each failure makes the pause before the next attempt longer, up to a second
            with pytest.raises(Unavailable):
                await EchoStub(unlucky).Greet(EchoRequest(), timeout=10)
            await asyncio.sleep(0.1)
        server = MeshServer(
            [(ECHO, stack.servicer)],
            listen=target,
            interceptors=Interceptors(verifier=None, metrics=(metrics := Metrics()), tracing=Tracing()),
            health=Health(services=(), checks={}, metrics=metrics),
        )
        await server.start()
        async with grpc_channel(target) as fresh:
            assert (await EchoStub(fresh).Greet(EchoRequest(text="you"), timeout=10)).text == "hello you"
        await server.drain(wait_seconds=0.0, grace_seconds=0.0)


async def test_a_call_that_no_handler_has_begun_waits_for_its_own_deadline(stack: Stack) -> None:
    def ask(channel: grpc.Channel) -> Any:  # noqa: ANN401 — grpc's call is also a future
        greet: Any = channel.unary_unary(f"/{ECHO.full_name}/Greet")
        return greet.future(EchoRequest(text="you").SerializeToString(), timeout=120, wait_for_ready=True)

    # From a thread's channel: this loop, which is the server's, stands still for longer than grpc's own 30 s.
    with grpc.insecure_channel(stack.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        await asyncio.to_thread(grpc.channel_ready_future(channel).result, 60)
        calls = [ask(channel) for _ in range(100)]
        time.sleep(32)  # noqa: ASYNC251 — stands still
        answers = await asyncio.to_thread(lambda: [call.result() for call in calls])
    assert answers == [EchoResponse(text="hello you").SerializeToString()] * 100
