"""The application under the server that runs it: what only a real connection shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.rest.exchange import Exchange
from meshkit.http import HttpServer
from meshkit.rpc.call import current_call
from tests.edge.rest.client import Client, kitchen_client
from tests.edge.rest.kitchen import FindResponse
from tests.edge.rest.test_sse import Endless


@asynccontextmanager
async def connection(client: Client) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the application, served on loopback."""
    server = HttpServer(client.app, listen="127.0.0.1:0", name="REST port")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await server.stop()


def request(client: Client, line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: x", f"Authorization: Bearer {client.token}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def test_path_reaches_the_router_as_it_was_sent(tmp_path: Path) -> None:
    client = kitchen_client(tmp_path)
    async with connection(client) as (reader, writer):
        for path, said in (("/v1/things/a%2Fb", b'"skuCode":"a/b"'), ("/v1/things/%2E%2E", b'"skuCode":".."')):
            writer.write(request(client, f"GET {path}?shade=SHADE_RED"))
            status, body = await answer(reader)
            assert (status, said in body, b'"shade":"SHADE_RED"' in body) == (200, True, True)


async def test_caller_that_sends_too_much_still_reads_the_refusal(tmp_path: Path) -> None:
    client = kitchen_client(tmp_path)
    body = b" " * 8_000_000  # more than the sockets between them hold
    headers = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    for path, status in (("/v1/things/A:do", 413), ("/v1/nope", 404)):
        async with connection(client) as (reader, writer):
            writer.write(request(client, f"POST {path}", *headers, body=body))
            await writer.drain()
            assert (await answer(reader))[0] == status


async def test_closed_connection_ends_the_stream(tmp_path: Path) -> None:
    endless = Endless()
    client = kitchen_client(tmp_path, Watch=endless)
    async with connection(client) as (reader, writer):
        writer.write(request(client, "GET /v1/things:watch"))
        await reader.readuntil(b"event: progress")
        writer.close()
        await endless.closed.wait()


async def test_requests_at_once_have_a_context_each(tmp_path: Path) -> None:
    async def look(asked: Any, exchange: Exchange) -> Any:  # noqa: ANN401 — compiled at run time
        await asyncio.sleep(0)
        assert current_call.get() is exchange.call
        return FindResponse(found=asked)

    client = kitchen_client(tmp_path, Find=look)
    async with connection(client) as (reader, writer):
        for number in range(20):
            writer.write(request(client, f"GET /v1/things/{number}"))
        found = [await answer(reader) for _ in range(20)]
        assert [status for status, _ in found] == [200] * 20


NO_REQUESTS = [
    (b"garbage\r\n\r\n", 400),
    (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000), 414),
    (b"GET /v1/nope HTTP/1.1\r\nHost: x\r\n%s\r\n" % b"".join(b"x%d: y\r\n" % each for each in range(1_000)), 431),
]


@pytest.mark.parametrize(("sent", "status"), NO_REQUESTS, ids=[str(row[1]) for row in NO_REQUESTS])
async def test_what_is_no_request_is_refused_by_the_server_with_an_empty_body(
    tmp_path: Path, sent: bytes, status: int
) -> None:
    async with connection(kitchen_client(tmp_path)) as (reader, writer):
        writer.write(sent)
        assert await answer(reader) == (status, b"")


async def test_lines_of_one_header_arrive_as_they_were_sent(tmp_path: Path) -> None:
    client = kitchen_client(tmp_path)
    async with connection(client) as (reader, writer):
        writer.write(request(client, "GET /v1/things/A", f"Authorization: Bearer {client.token}"))
        assert (await answer(reader))[0] == 401
        writer.write(request(client, "GET /v1/things/A", "Accept: text/html", "Accept: application/json"))
        assert (await answer(reader))[0] == 200


async def test_drain_is_told_over_the_wire(tmp_path: Path) -> None:
    client = kitchen_client(tmp_path, Watch=Endless())
    async with connection(client) as (reader, writer):
        writer.write(request(client, "GET /v1/things:watch"))
        await reader.readuntil(b"event: progress")
        client.app.end_streams()
        said = await reader.readuntil(b"0\r\n\r\n")
        assert b"id: t1\nevent: goodbye\ndata: {" in said
