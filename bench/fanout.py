"""Subscribers of the stock's changes: many by gRPC; or many over HTTP, who check that nothing is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import Any, cast

from beautymesh.inventory.v1 import watch_pb2
from bench.calls import Client, Job, percentiles_ms
from bench.rest import address_of, request

PATH = "/v1/stock:watch?skipSnapshot=true"


@dataclass(frozen=True, slots=True)
class _Message:
    """What one event says; read once for all readers, who receive the same bytes."""

    covers_from: int
    covers_to: int
    conflated: bool
    record_times: list[float]


@dataclass(slots=True)
class _Tally:
    """What all readers have seen together."""

    ages: list[float] = field(default_factory=list)
    events: int = 0
    conflated: int = 0
    gaps: int = 0
    known: dict[bytes, _Message] = field(default_factory=dict)


class _Reader(asyncio.Protocol):
    """One stream. `last` is the revision up to which it has been told everything, gaps aside."""

    def __init__(self, tally: _Tally, sent: bytes) -> None:
        self._tally = tally
        self._sent = sent
        self._raw = b""
        self._text = b""
        self._begun = False
        self.last = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._sent)

    def data_received(self, data: bytes) -> None:
        now = time()
        self._raw += data
        if not self._begun:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 200"), head.decode()
            self._begun, self._raw = True, rest
        self._take_chunks()
        *events, self._text = self._text.split(b"\n\n")
        for event in events:
            self._take(event, now)

    def _take_chunks(self) -> None:
        while True:
            size, found, rest = self._raw.partition(b"\r\n")
            if not found or len(rest) < int(size, 16) + 2:
                return
            self._text += rest[: int(size, 16)]
            self._raw = rest[int(size, 16) + 2 :]

    def _take(self, event: bytes, now: float) -> None:
        tally = self._tally
        message = tally.known.get(event)
        if message is None:
            message = tally.known[event] = _read(event)
        if self.last >= 0 and message.covers_from != self.last:
            tally.gaps += 1
        self.last = max(self.last, message.covers_to)
        tally.events += 1
        tally.conflated += message.conflated
        tally.ages.extend([now - each for each in message.record_times])


def _read(event: bytes) -> _Message:
    data = next((line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")), b"")
    if not data:
        raise AssertionError(f"an event without data: {event.decode()}")
    body: dict[str, Any] = json.loads(data)
    position, deltas = body["position"], body.get("deltas", {})
    times = [
        datetime.fromisoformat(delta["recordTime"]).astimezone(UTC).timestamp()
        for delta in deltas.get("deltas", ())
        if "level" in delta
    ]
    return _Message(int(position["coversFrom"]), int(position["coversTo"]), bool(deltas.get("conflated")), times)


async def watch(job: Job) -> Job:
    """Follows the stock with many gRPC streams; how old each level delta is when it arrives, by its record time.

    Record time is taken under the log's lock before the batch is decided and committed, by a clock of this machine: so
    a delta's age includes the commit itself.
    """
    clients = [Client(job) for _ in range(job["channels"])]
    streams = [clients[n % len(clients)] for n in range(job["streams"])]
    ages = [age for each in await asyncio.gather(*(_ages(one, job["seconds"]) for one in streams)) for age in each]
    for client in clients:
        await client.close()
    return {"deltas": len(ages), **percentiles_ms(ages)}


async def _ages(client: Client, seconds: float) -> list[float]:
    """The ages of all level deltas that one gRPC stream brings in so many seconds."""
    ages: list[float] = []
    stream = client.watch(watch_pb2.WatchStockRequest(skip_snapshot=True))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for message in stream:
                now = time()
                ages.extend(
                    now - delta.record_time.seconds - delta.record_time.nanos / 1e9
                    for delta in message.deltas.deltas
                    if delta.HasField("level")
                )
    stream.cancel()
    return ages


async def follow(job: Job) -> Job:
    """How old each level delta is when each of `streams` readers has it, and whether each was told everything.

    `straight` tells the same of one gRPC subscriber of the service itself, at the same time.
    """
    tally = _Tally()
    host, port = address_of(job["url"])
    sent = request("GET", job["url"], PATH, token=job["token"], headers={"accept": "text/event-stream"})
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(lambda: _Reader(tally, sent), host, port) for _ in range(job["streams"])
    ]
    client = Client(job)
    straight = await _ages(client, job["seconds"])
    await client.close()
    for transport, _ in connections:
        transport.abort()
    return {
        "straight": percentiles_ms(straight),
        "deltas": len(tally.ages),
        "events": tally.events,
        "conflated": tally.conflated,
        "gaps": tally.gaps,
        "silent": sum(reader.last < 0 for _, reader in connections),
        "last_min": min(reader.last for _, reader in connections),
        "last_max": max(reader.last for _, reader in connections),
        **percentiles_ms(tally.ages),
    }
