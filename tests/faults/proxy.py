"""A stretch of wire between a client and PostgreSQL that breaks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, unquote

COMMITTED = b"COMMIT\0"
"""How the server says that a transaction is durable."""


class Wire:
    """Passes bytes on, both ways. `url` is the database's through this wire."""

    def __init__(self, url: str) -> None:
        start, _, host = url.partition("?host=")
        self._socket = Path(unquote(host)) / ".s.PGSQL.5432"
        self._folder = Path(tempfile.mkdtemp(prefix="bm-"))
        self.url = f"{start}?host={quote(str(self._folder), safe='')}"
        self.refusing = False
        self.cuts = 0
        self._cut_before_answer = b""
        self._cut_before_question = b""
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    def cut_before_answer(self, text: bytes) -> None:
        """Once: when the server says this, the client is not told, and the connection breaks."""
        self._cut_before_answer = text

    def cut_before_question(self, text: bytes) -> None:
        """Once: when the client says this, the server is not told, and the connection breaks."""
        self._cut_before_question = text

    def cut(self) -> None:
        """Breaks every connection."""
        for end in list(self._open):
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        self._open |= {writer, up_writer}
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, up_writer, answers=False))
                group.create_task(self._pass(up_reader, writer, answers=True))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, up_writer):
                end.transport.abort()
                self._open.discard(end)
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        seen = b""
        while data := await reader.read(65536):
            text = self._cut_before_answer if answers else self._cut_before_question
            seen = seen[-len(text) :] + data if text else b""
            if text and text in seen:
                self._cut_before_answer = self._cut_before_question = b""
                self.cuts += 1
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """A wire to the database of `url`, a Unix socket's."""
    wire = Wire(url)
    try:
        async with await asyncio.start_unix_server(wire._serve, wire._folder / ".s.PGSQL.5432"):  # noqa: SLF001 — one module
            yield wire
            wire.cut()
            for task in list(wire._passing):  # noqa: SLF001 — see above
                task.cancel()
            await asyncio.gather(*wire._passing, return_exceptions=True)  # noqa: SLF001 — see above
    finally:
        shutil.rmtree(wire._folder)  # noqa: SLF001 — see above
