"""Followers of the stock stop at the last revision that was written: what the bench calls lost has not come at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import pytest

from beautymesh.common.v1 import watch_pb2 as common_pb2
from beautymesh.inventory.v1 import watch_pb2
from bench import fanout
from bench.calls import Job
from bench.edge_cases import lost_of
from tests.bench.loopback import serving

STREAMS: Final = 3
REVISIONS: Final = (1, 2, 3)
WHOLE: Final = {"deltas": 9, "conflated": 0, "gaps": 0, "behind": 0}


@dataclass
class Talk:
    """The bench, which has written all revisions; what it was told wakes the streams up."""

    opened: asyncio.Event
    told: list[Job]

    def say(self, told: Job) -> None:
        self.told.append(told)
        self.opened.set()

    async def hear(self) -> Job:
        return {"revision": REVISIONS[-1]}


async def test_deltas_that_come_after_the_last_command_was_answered_are_waited_for() -> None:
    found = await followed(brings=REVISIONS)
    assert {name: found[name] for name in WHOLE} == WHOLE
    assert lost_of(found, expected=9) == ""
    assert found["straight"]["p50_ms"] is not None


async def test_a_revision_that_never_comes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "SEEN_SECONDS_MAX", 0.2)
    found = await followed(brings=REVISIONS[:2])
    assert {name: found[name] for name in WHOLE} == WHOLE | {"deltas": 6, "behind": 3}
    assert lost_of(found, expected=9) == "LOST: 0 gaps, 3 streams not told of the last revision"


async def followed(*, brings: tuple[int, ...]) -> Any:  # noqa: ANN401 — JSON
    talk = Talk(asyncio.Event(), [])
    async with streams(talk.opened, brings) as job:
        found = await fanout.follow(job, talk)
    assert talk.told == [{"open": STREAMS + 1}]
    return found


@asynccontextmanager
async def streams(opened: asyncio.Event, brings: tuple[int, ...]) -> AsyncIterator[Job]:
    """An edge and an inventory of which nothing stands but the stream; it goes on when all have begun."""

    async def serve_events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(chunk({"position": {"coversFrom": "0", "coversTo": "0"}, "progress": {}}))
        await opened.wait()
        for revision in brings:
            await asyncio.sleep(0.02)  # each comes alone, and after the bench has heard of the last commit
            position = {"coversFrom": str(revision - 1), "coversTo": str(revision)}
            delta = {"revision": str(revision), "level": {}, "recordTime": "2026-03-01T12:00:00Z"}
            writer.write(chunk({"position": position, "deltas": {"deltas": [delta]}}))

    inventory = grpc.aio.server()

    async def watch(request: Any, context: Any) -> AsyncGenerator[watch_pb2.WatchStockResponse, None]:  # noqa: ANN401 — grpc's
        yield watch_pb2.WatchStockResponse(position=common_pb2.WatchPosition(), progress=watch_pb2.Progress())
        await opened.wait()
        for revision in REVISIONS:  # lost is what the edge loses
            yield response(revision)
        await asyncio.Event().wait()

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        watch, response_serializer=watch_pb2.WatchStockResponse.SerializeToString
    )
    name = "beautymesh.inventory.v1.InventoryService"
    inventory.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"WatchStock": handler})])
    port = inventory.add_insecure_port("127.0.0.1:0")
    await inventory.start()
    try:
        async with serving(serve_events) as url:
            yield {"url": url, "address": f"127.0.0.1:{port}", "token": "t", "streams": STREAMS}
    finally:
        await inventory.stop(None)


def chunk(body: object) -> bytes:
    event = f"event: any\ndata: {json.dumps(body)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def response(revision: int) -> watch_pb2.WatchStockResponse:
    message = watch_pb2.WatchStockResponse()
    message.position.covers_to = revision
    message.deltas.deltas.add(revision=revision).level.SetInParent()
    return message
