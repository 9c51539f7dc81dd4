"""A small HTTP/1.1 client that hides nothing: raw requests, broken connections, event streams.

A library would repeat, redirect, normalise paths and refuse malformed requests; here that is the test's business.
"""
# ruff: noqa: ANN401 — JSON is anything

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

ANSWER_SECONDS_MAX: Final = 30.0
"""Three times what an edge takes at most for a unary request."""

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""One event of a snapshot stands on one line."""


class Broken(Exception):
    """The connection could not be made, or ended before the answer did: whether it was done is not known."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        return str(problem["reason"])

    @property
    def fields(self) -> list[str]:
        """The fields that a problem names."""
        return [each["field"] for each in self.json()["violations"]]

    def ok(self) -> Any:
        """The JSON of what went well."""
        assert self.status == 200, self
        return self.json()


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: Any


class Client:
    """One caller at one edge, with one connection that is kept while it holds."""

    def __init__(self, url: str, token: str = "") -> None:
        """Without `token` no `Authorization` is sent."""
        self.url = url
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leaves the connection."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def get(self, target: str, **headers: str) -> Reply:
        """GET. Underscores in names of headers become dashes."""
        return await self.ask("GET", target, headers=_dashed(headers))

    async def post(self, target: str, body: Any, **headers: str) -> Reply:
        """POST of JSON."""
        return await self.ask("POST", target, body, headers=_dashed(headers))

    async def ask(
        self, method: str, target: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request; bytes are sent as they are, everything else as JSON. `target` is sent as it is.

        Raises:
            Broken
        """
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"host": urlsplit(self.url).netloc, "content-length": str(len(payload))}
        if body is not None:
            sent["content-type"] = "application/json"
        if self._token:
            sent["authorization"] = f"Bearer {self._token}"
        sent |= headers or {}
        return await self.send(_head(method, target, sent) + payload, head_only=method == "HEAD")

    async def send(self, request: bytes, *, head_only: bool = False) -> Reply:
        """The answer to raw bytes.

        Raises:
            Broken
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                reader, writer = await self._connected()
                writer.write(request)
                with contextlib.suppress(ConnectionError):  # it may answer before it has read all
                    await writer.drain()
                reply = await _read_reply(reader, head_only=head_only)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as fault:
            await self.close()
            raise Broken(str(fault)) from fault
        if reply.headers.get("connection", "").lower() == "close":
            await self.close()
        return reply

    async def events(
        self, target: str, *, method: str = "GET", body: Any = None, last_event_id: str = ""
    ) -> AsyncGenerator[Event]:
        """The events of a stream until the server ends it.

        Raises:
            Broken: it ended in the middle of something, or never began.
            Refused: it was answered with a problem.
        """
        headers = {"host": urlsplit(self.url).netloc, "authorization": f"Bearer {self._token}"}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        payload = b"" if body is None else json.dumps(body).encode()
        headers["content-length"] = str(len(payload))
        if payload:
            headers["content-type"] = "application/json"
        try:
            reader, writer = await self._connected()
            writer.write(_head(method, target, headers) + payload)
            status, found = await _read_head(reader)
            if status != 200:
                raise Refused(Reply(status, found, await _read_body(reader, found)))
            assert found["content-type"] == "text/event-stream; charset=utf-8", found
            async for event in _events(_chunks(reader)):
                yield event
        except (OSError, asyncio.IncompleteReadError) as fault:
            raise Broken(str(fault)) from fault
        finally:
            await self.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            await self.close()
            parts = urlsplit(self.url)
            assert parts.hostname is not None
            self._streams = await asyncio.open_connection(parts.hostname, parts.port, limit=LINE_BYTES_MAX)
        return self._streams


class Refused(Exception):
    """A stream that was answered with a problem."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_reply(reader: asyncio.StreamReader, *, head_only: bool) -> Reply:
    status, headers = await _read_head(reader)
    without_body = head_only or status in (204, 304)
    return Reply(status, headers, b"" if without_body else await _read_body(reader, headers))


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        assert name.lower() not in headers, f"{name} came twice: {head}"
        headers[name.lower()] = value.strip()
    return int(head[0].split(" ")[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    return await reader.readexactly(int(headers["content-length"]))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return
        yield chunk[:-2]


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    parts: list[bytes] = []
    async for chunk in chunks:
        parts.append(chunk)
        if not chunk.endswith(b"\n\n"):
            continue
        text = b"".join(parts).decode()
        parts.clear()
        for block in text.removesuffix("\n\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if fields:
                yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
    assert not parts, "the stream ended within an event"
