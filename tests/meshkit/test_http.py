from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from meshkit.http import HttpServer

IDLE_CONNECTIONS: Final = 300
"""More than twice what Granian takes when it is not told otherwise."""


async def test_whoever_keeps_connections_open_does_not_shut_others_out() -> None:
    server = HttpServer(_app, listen="127.0.0.1:0", name="test port")
    await server.start()
    async with AsyncExitStack() as open_connections:
        open_connections.push_async_callback(server.stop)
        for _ in range(IDLE_CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            open_connections.callback(writer.close)
            writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            async with asyncio.timeout(10):
                assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")


async def _app(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 — as ASGI has it
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})
