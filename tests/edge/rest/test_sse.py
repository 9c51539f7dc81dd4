# ruff: noqa: ANN401 — messages of a service that is compiled at run time have no type
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1.watch_pb2 import Goodbye, Progress, WatchStockResponse
from edge_gateway.rest import sse
from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.exchange import Exchange
from edge_gateway.rest.sse import ENCODED_MESSAGES_MAX, EventEncoder, EventStream
from meshkit.core.errors import ResumeTokenForeign, Unavailable
from meshkit.rpc.call import current_call
from tests.edge.rest.client import Client, kitchen_client
from tests.edge.rest.kitchen import StepResponse, WatchResponse

KINDS = [
    ("snapshot", "snapshot"),
    ("snapshot_complete", "snapshot"),
    ("deltas", "delta"),
    ("progress", "progress"),
    ("goodbye", "goodbye"),
]


def message(kind: str, number: int) -> Any:
    made = WatchResponse(position={"covers_from": number - 1, "covers_to": number, "resume_token": f"t{number}"})
    getattr(made, kind).SetInParent()
    return made


async def all_kinds(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
    for number, (kind, _) in enumerate(KINDS, start=1):
        made = message(kind, number)
        yield made if number % 2 else made.SerializeToString()


async def test_each_kind_of_message_is_an_event_with_its_token(tmp_path: Path) -> None:
    response = await kitchen_client(tmp_path, Watch=all_kinds).get("/v1/things:watch")
    assert (response.status, response.is_complete) == (200, True)
    assert response.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    assert [(each["id"], each["event"]) for each in response.events] == [
        (f"t{number}", name) for number, (_, name) in enumerate(KINDS, start=1)
    ]
    assert json.loads(response.events[2]["data"]) == {
        "position": {"coversFrom": "2", "coversTo": "3", "resumeToken": "t3"},
        "deltas": {"lines": []},
    }


async def test_stream_without_positions_has_plain_messages(client: Client) -> None:
    response = await client.post("/v1/things:verify", {})
    assert response.events == [{"event": "message", "data": '{"step":"1"}'}]


async def test_empty_stream_is_an_empty_answer(tmp_path: Path) -> None:
    async def nothing(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
        for number in range(0):
            yield message("progress", number)

    response = await kitchen_client(tmp_path, Watch=nothing).get("/v1/things:watch")
    assert (response.status, response.body, response.is_complete) == (200, b"", True)


class TestResuming:
    @pytest.mark.parametrize(
        ("query", "header", "token"),
        [
            ("", "t7", "t7"),
            ("?resumeToken=t7", "t7", "t7"),
            ("?resumeToken=t1", "t7", "t7"),
            ("?resumeToken=t7", "", "t7"),
            ("?resumeToken=t7", None, "t7"),
        ],
    )
    async def test_last_event_id_is_the_resume_token(
        self, tmp_path: Path, query: str, header: str | None, token: str
    ) -> None:
        asked = []

        async def watch(request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
            asked.append(request.resume_token)
            yield message("progress", 8)

        headers = {} if header is None else {"Last-Event-ID": header}
        client = kitchen_client(tmp_path, Watch=watch)
        assert (await client.get(f"/v1/things:watch{query}", headers=headers)).status == 200
        assert asked == [token]

    async def test_id_that_can_be_no_token_is_refused(self, client: Client) -> None:
        response = await client.get("/v1/things:watch", headers={"Last-Event-ID": "x" * 1025})
        assert (response.status, response.fields) == (400, ["Last-Event-ID"])


class TestFaults:
    async def test_fault_before_the_first_message_is_an_ordinary_problem(self, tmp_path: Path) -> None:
        async def refuse(request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
            if request.resume_token:
                raise ResumeTokenForeign("from elsewhere")
            yield message("progress", 1)

        response = await kitchen_client(tmp_path, Watch=refuse).get("/v1/things:watch?resumeToken=t1")
        assert (response.status, response.reason) == (410, "RESUME_TOKEN_FOREIGN")

    async def test_fault_after_it_is_the_last_event(self, tmp_path: Path) -> None:
        async def fail(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
            yield message("progress", 1)
            raise Unavailable("gone")

        response = await kitchen_client(tmp_path, Watch=fail).get("/v1/things:watch")
        assert (response.status, response.is_complete) == (200, True)
        assert [each["event"] for each in response.events] == ["progress", "error"]
        problem = json.loads(response.events[1]["data"])
        assert (problem["status"], problem["reason"], problem["detail"]) == (503, "UNAVAILABLE", "gone")

    async def test_scope_is_needed(self, tmp_path: Path) -> None:
        response = await kitchen_client(tmp_path, scopes=frozenset()).get("/v1/things:watch")
        assert (response.status, response.reason) == (403, "MISSING_SCOPE")


class Endless:
    """A stream that waits after its first messages, and knows when it was closed."""

    def __init__(self, *, first: int = 1) -> None:
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self._first = first

    async def __call__(self, _request: Any, exchange: Exchange) -> AsyncGenerator[Any, None]:
        assert current_call.get() is exchange.call
        assert exchange.call.deadline is None
        self.opened.set()
        try:
            for number in range(self._first):
                yield message("progress", number + 1)
            await asyncio.Event().wait()
        finally:
            self.closed.set()


class TestEnding:
    @pytest.mark.parametrize("first", [0, 1], ids=["before", "after"])
    async def test_client_that_goes_away_ends_the_stream_at_once(self, tmp_path: Path, first: int) -> None:
        endless = Endless(first=first)
        client = kitchen_client(tmp_path, Watch=endless)
        stream = client.open("GET", "/v1/things:watch")
        await endless.opened.wait()
        if first:
            await stream.until(lambda response: len(response.events) == first)
        stream.disconnect()
        response = await stream.finish()
        assert (endless.closed.is_set(), response.is_complete) == (True, False)
        assert "http_server_active_requests" in client.metrics.expose().decode()
        labels = {"http_route": "/v1/things:watch", "http_request_method": "GET"}
        assert client.metrics.registry.get_sample_value("http_server_active_requests", labels) == 0

    async def test_drain_ends_streams_cleanly_and_refuses_new_ones(self, tmp_path: Path) -> None:
        endless = Endless()
        client = kitchen_client(tmp_path, Watch=endless)
        stream = client.open("GET", "/v1/things:watch")
        await stream.until(lambda response: len(response.events) == 1)
        client.app.end_streams()
        response = await stream.finish()
        assert (endless.closed.is_set(), response.is_complete) == (True, True)
        assert [(each["id"], each["event"]) for each in response.events] == [("t1", "progress"), ("t1", "goodbye")]
        assert json.loads(response.events[1]["data"]) == {
            "position": {"coversFrom": "1", "coversTo": "1", "resumeToken": "t1"},
            "goodbye": {"skuCode": "", "quantity": "0"},
        }
        refused = await client.get("/v1/things:watch")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")

    async def test_drain_of_a_stream_without_positions_says_nothing(self, tmp_path: Path) -> None:
        async def endless(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
            yield StepResponse(step=1)
            await asyncio.Event().wait()

        client = kitchen_client(tmp_path, Verify=endless)
        stream = client.open("POST", "/v1/things:verify", body=b"{}")
        await stream.until(lambda response: len(response.events) == 1)
        client.app.end_streams()
        assert [each["event"] for each in (await stream.finish()).events] == ["message"]

    async def test_drain_lets_the_event_that_is_being_sent_through(self) -> None:
        sent: list[Any] = []
        is_sending, may_go_on = asyncio.Event(), asyncio.Event()

        async def send(part: Any) -> None:
            sent.append(part)
            if part.get("body"):
                is_sending.set()
                await may_go_on.wait()

        async def two() -> AsyncGenerator[Any, None]:
            yield message("progress", 1)
            yield message("progress", 2)

        async def receive() -> Any:
            await asyncio.Event().wait()

        stream = EventStream(send, EventEncoder(WatchResponse.DESCRIPTOR, lambda _message: b"{}"), [])
        running = asyncio.create_task(stream.run(two(), receive))
        await is_sending.wait()
        stream.end()
        may_go_on.set()
        await running
        assert [part["body"] for part in sent[1:]] == [b"id: t1\nevent: progress\ndata: {}\n\n"]
        assert stream.goodbye() == b"id: t1\nevent: goodbye\ndata: {}\n\n"

    async def test_stream_that_is_still_being_asked_for_is_ended_by_a_drain_too(self, tmp_path: Path) -> None:
        async def endless(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
            yield StepResponse(step=1)
            await asyncio.Event().wait()

        client = kitchen_client(tmp_path, Verify=endless)
        stream = client.open("POST", "/v1/things:verify", body=[], headers={"content-type": "application/json"})
        await asyncio.sleep(0)  # the request has begun and waits for its body
        client.app.end_streams()
        stream.arrive(b"{}")
        response = await stream.finish()
        assert (response.status, response.events, response.is_complete) == (200, [], True)

    async def test_server_that_ends_the_request_ends_the_stream(self, tmp_path: Path) -> None:
        endless = Endless()
        stream = kitchen_client(tmp_path, Watch=endless).open("GET", "/v1/things:watch")
        await stream.until(lambda response: len(response.events) == 1)
        stream.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.task
        assert endless.closed.is_set()


async def test_silence_is_filled_with_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.001)
    client = kitchen_client(tmp_path, Watch=Endless(first=0))
    async with client.streaming("/v1/things:watch") as stream:
        response = await stream.until(lambda response: response.body.count(b": \n\n") == 3)
        assert (response.status, response.events) == (200, [{"": ""}] * 3)


class TestEncoder:
    def test_same_bytes_are_encoded_once(self) -> None:
        made: list[Any] = []

        def encode(each: Any) -> bytes:
            made.append(each)
            return b"{}"

        encoder = EventEncoder(WatchResponse.DESCRIPTOR, encode)
        shared = message("deltas", 1).SerializeToString()
        assert [encoder.event(shared) for _ in range(3)] == [b"id: t1\nevent: delta\ndata: {}\n\n"] * 3
        assert len(made) == 1

    def test_goodbye_says_why_and_is_said_once(self) -> None:
        encoder = EventEncoder(WatchStockResponse.DESCRIPTOR, Codecs().of(WatchStockResponse.DESCRIPTOR).encode)
        position = WatchPosition(covers_from=3, covers_to=7, resume_token="t7")
        last = WatchStockResponse(position=position, progress=Progress())
        said = encoder.goodbye(last.SerializeToString())
        assert said == (
            b"id: t7\nevent: goodbye\n"
            b'data: {"position":{"coversFrom":"7","coversTo":"7","resumeToken":"t7"},'
            b'"goodbye":{"reason":"GOODBYE_REASON_DRAINING"}}\n\n'
        )
        assert encoder.goodbye(WatchStockResponse(position=position, goodbye=Goodbye())) == b""

    def test_memory_is_bounded_by_number(self) -> None:
        made: list[Any] = []

        def encode(each: Any) -> bytes:
            made.append(each)
            return b"{}"

        encoder = EventEncoder(StepResponse.DESCRIPTOR, encode)
        messages = [StepResponse(step=number + 1).SerializeToString() for number in range(ENCODED_MESSAGES_MAX + 1)]
        for each in (*messages, messages[-1], messages[0]):
            encoder.event(each)
        assert len(made) == len(messages) + 1  # the oldest had to go

    def test_memory_is_bounded_by_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sse, "ENCODED_BYTES_MAX", 100)
        made: list[Any] = []

        def encode(each: Any) -> bytes:
            made.append(each)
            return b"x" * 101

        encoder = EventEncoder(StepResponse.DESCRIPTOR, encode)
        for _ in range(2):
            encoder.event(StepResponse(step=1).SerializeToString())
        assert len(made) == 2
