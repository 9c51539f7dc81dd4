"""Subscribers of the stock's changes: many by gRPC; or many over HTTP, who check that nothing is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import Any, Final, Protocol, cast

from beautymesh.inventory.v1 import watch_pb2
from bench.calls import Client, Job, percentiles_ms
from bench.rest import address_of, request

PATH: Final = "/v1/stock:watch?skipSnapshot=true"

SEEN_SECONDS_MAX: Final = 30.0
"""What has not come so long after the last commit is lost. It takes less than a second where nothing is wrong."""


class Talk(Protocol):
    """How a job speaks with the bench while it is being done."""

    def say(self, told: Job) -> None:
        """Tells the bench something."""

    async def hear(self) -> Job:
        """The next that the bench tells."""


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


class _Subscriber:
    """One gRPC stream. `ages` are those of its level deltas, `last` is as a reader's."""

    def __init__(self, client: Client) -> None:
        self._stream = client.watch(watch_pb2.WatchStockRequest(skip_snapshot=True))
        self._reading = asyncio.create_task(self._read())
        self.ages: list[float] = []
        self.last = -1

    async def close(self) -> None:
        """Hangs up.

        Raises:
            grpc.aio.AioRpcError: the stream was broken before.
        """
        self._stream.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self) -> None:
        async for message in self._stream:
            now = time()
            self.ages.extend(
                now - delta.record_time.seconds - delta.record_time.nanos / 1e9
                for delta in message.deltas.deltas
                if delta.HasField("level")
            )
            self.last = max(self.last, message.position.covers_to)


async def watch(job: Job, talk: Talk) -> Job:
    """Follows the stock with many gRPC streams; how old each level delta is when it arrives, by its record time.

    Record time is taken under the log's lock before the batch is decided and committed, by a clock of this machine: so
    a delta's age includes the commit itself.
    """
    clients = [Client(job) for _ in range(job["channels"])]
    streams = [_Subscriber(clients[n % len(clients)]) for n in range(job["streams"])]
    await _until_all_is_seen(streams, talk)
    for stream in streams:
        await stream.close()
    for client in clients:
        await client.close()
    ages = [age for stream in streams for age in stream.ages]
    return {"deltas": len(ages), **percentiles_ms(ages)}


async def follow(job: Job, talk: Talk) -> Job:
    """How old each level delta is when each of `streams` readers has it, and whether each was told everything.

    `behind` counts the readers who were not told of the last revision. `straight` tells the age of one gRPC subscriber
    of the service itself, at the same time.
    """
    tally = _Tally()
    host, port = address_of(job["url"])
    sent = request("GET", job["url"], PATH, token=job["token"], headers={"accept": "text/event-stream"})
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(lambda: _Reader(tally, sent), host, port) for _ in range(job["streams"])
    ]
    readers = [reader for _, reader in connections]
    client = Client(job)
    straight = _Subscriber(client)
    revision = await _until_all_is_seen([*readers, straight], talk)
    await straight.close()
    await client.close()
    for transport, _ in connections:
        transport.abort()
    return {
        "straight": percentiles_ms(straight.ages),
        "deltas": len(tally.ages),
        "events": tally.events,
        "conflated": tally.conflated,
        "gaps": tally.gaps,
        "behind": sum(reader.last < revision for reader in readers),
        **percentiles_ms(tally.ages),
    }


async def _until_all_is_seen(streams: Sequence[_Reader | _Subscriber], talk: Talk) -> int:
    """Says when all streams are open, hears which revision was the last, and waits until all are there. Returns it.

    How long writing takes is the machine's business: followers who stop after a fixed time call lost what is late.
    """
    await _reach(streams, 0)  # every stream says at once where it begins
    talk.say({"open": sum(each.last >= 0 for each in streams)})
    revision: int = (await talk.hear())["revision"]
    await _reach(streams, revision)
    return revision


async def _reach(streams: Sequence[_Reader | _Subscriber], revision: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SEEN_SECONDS_MAX):
            while any(each.last < revision for each in streams):  # noqa: ASYNC110 — no event costs a reader nothing
                await asyncio.sleep(0.02)
