"""Asks a child whether it answers, in one short exchange and without a client library that `up` would have to load."""

from __future__ import annotations

import asyncio
from pathlib import Path

PROBE_SECONDS_MAX = 1.0


async def http_is_ready(host: str, port: int) -> bool:
    """Whether `GET /readyz` answers 200 within a second."""
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            stream = await asyncio.open_connection(host, port)
            question = f"GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            answer = await _ask(*stream, question, lines=1)
    except (OSError, TimeoutError):
        return False
    return answer[0].split()[1:2] == [b"200"]


async def valkey_is_ready(socket: Path, password: str) -> bool:
    """Whether the server takes the password and answers a PING within a second."""
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            stream = await asyncio.open_unix_connection(socket)
            answer = await _ask(*stream, f"AUTH {password}\r\nPING\r\n", lines=2)
    except (OSError, TimeoutError):
        return False
    return answer == [b"+OK\r\n", b"+PONG\r\n"]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: str, *, lines: int) -> list[bytes]:
    try:
        writer.write(question.encode())
        return [await reader.readline() for _ in range(lines)]
    finally:
        writer.close()
