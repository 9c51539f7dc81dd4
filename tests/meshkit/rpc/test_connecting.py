"""How a channel finds a server that is slow to greet, or comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.channels import connected
from tests.meshkit.rpc.echo import EchoRequest, EchoStub, Stack

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
