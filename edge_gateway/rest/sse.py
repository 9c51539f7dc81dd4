"""How a server stream is told over HTTP: as Server-Sent Events (WHATWG HTML, section 9.2).

    id: <resume token of the message's position>
    event: snapshot | delta | progress | goodbye | message | error
    data: <ProtoJSON on one line>

A client that loses the connection comes back with `Last-Event-ID`, which becomes the request's `resume_token`. An edge
that stops says goodbye itself, at the place of the last message. A fault after the first event is an event as well,
with a problem document as its data, and the end.
"""
# ruff: noqa: ANN401 — messages of streams are of any type

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from beautymesh.common.v1.watch_pb2 import GOODBYE_REASON_DRAINING
from edge_gateway.rest.intake import ClientGone, Receive, Send
from edge_gateway.rest.problems import Headers
from meshkit.core.errors import InvalidRequest

HEARTBEAT_SECONDS: Final = 15.0
"""Silence after which a comment is sent, so that no proxy takes the connection for dead."""

HEARTBEAT: Final = b": \n\n"

ENCODED_MESSAGES_MAX: Final = 256
ENCODED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bounds of the memory of encoded messages, for each stream RPC. Readers are a few messages apart, no more."""

LAST_EVENT_ID_CHARACTERS_MAX: Final = 1_024
"""As the contract's `resume_token`."""

STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)

POSITION: Final = "beautymesh.common.v1.WatchPosition"

GOODBYE: Final = "goodbye"
"""The member of a message's body that ends a stream, and the event's name."""

_EVENTS: Final = {"snapshot_complete": "snapshot", "deltas": "delta"}
"""Event names of a message's body, where they are not the member's own name."""


class EventEncoder:
    """Makes events of one stream's messages; the same bytes for several readers are encoded once."""

    def __init__(self, message: Descriptor, encode: Callable[[Any], bytes]) -> None:
        """`encode` gives the message's JSON."""
        self._message_class: type[Message] = message_factory.GetMessageClass(message)
        self._encode = encode
        position = message.fields_by_name.get("position")
        self._has_position = (
            position is not None
            and position.message_type is not None
            and position.message_type.full_name == POSITION
            and not position.is_repeated
        )
        body = message.oneofs_by_name.get("body") if self._has_position else None
        self._body = "" if body is None else body.name
        self._says_goodbye = body is not None and any(each.name == GOODBYE for each in body.fields)
        self._encoded: OrderedDict[bytes, bytes] = OrderedDict()
        self._encoded_bytes = 0

    def event(self, reply: Message | bytes) -> bytes:
        """The event of a message. Bytes that were seen lately cost one look-up: Python keeps their hash."""
        if not isinstance(reply, bytes):
            return self._make(reply)
        known = self._encoded.get(reply)
        if known is None:
            known = self._make(self._message_class.FromString(reply))
            self._keep(reply, known)
        return known

    def goodbye(self, last: Message | bytes) -> bytes:
        """The event that ends a stream after its last message; empty where its messages cannot say so.

        It covers nothing: (covers_to, covers_to] of the message before.
        """
        before: Any = self._message_class.FromString(last) if isinstance(last, bytes) else last
        if not self._says_goodbye or before.WhichOneof(self._body) == GOODBYE:
            return b""
        farewell: Any = self._message_class()
        farewell.position.CopyFrom(before.position)
        farewell.position.covers_from = before.position.covers_to
        farewell.goodbye.SetInParent()
        if "reason" in farewell.goodbye.DESCRIPTOR.fields_by_name:
            farewell.goodbye.reason = GOODBYE_REASON_DRAINING
        return self._make(farewell)

    def _make(self, message: Any) -> bytes:
        name, token = "message", ""
        if self._has_position:
            token = message.position.resume_token
            member = message.WhichOneof(self._body) if self._body else None
            name = _EVENTS.get(member, member) if member else name
        return event(name, self._encode(message), token)

    def _keep(self, reply: bytes, made: bytes) -> None:
        self._encoded[reply] = made
        self._encoded_bytes += len(reply) + len(made)
        while len(self._encoded) > ENCODED_MESSAGES_MAX or self._encoded_bytes > ENCODED_BYTES_MAX:
            old, old_made = self._encoded.popitem(last=False)
            self._encoded_bytes -= len(old) + len(old_made)


def event(name: str, data: bytes, token: str = "") -> bytes:
    """One event. Neither a token nor JSON on one line can hold a line break."""
    identity = f"id: {token}\n" if token else ""
    return b"%sevent: %s\ndata: %s\n\n" % (identity.encode(), name.encode(), data)


def resume(request: Any, last_event_id: bytes) -> None:
    """Makes the stream go on after the event that the client saw last.

    It goes before the query's `resumeToken`: a browser's `EventSource` comes back to the same URL, which names the
    place where it began.

    Raises:
        InvalidRequest: the id is no token of ours.
    """
    try:
        token = last_event_id.decode()
    except UnicodeDecodeError:
        raise InvalidRequest.of("Last-Event-ID", "is not UTF-8") from None
    if not token:
        return
    if len(token) > LAST_EVENT_ID_CHARACTERS_MAX or "resume_token" not in request.DESCRIPTOR.fields_by_name:
        raise InvalidRequest.of("Last-Event-ID", "is not an id of this stream")
    request.resume_token = token


class EventStream:
    """One open stream: writes events and heartbeats until the handler ends, the client goes or the edge does.

    The answer begins with the first message, so that a fault before it is an ordinary problem; a handler that is silent
    for longer than a heartbeat's time has begun well.
    """

    def __init__(self, send: Send, encoder: EventEncoder, headers: Headers) -> None:
        """Nothing is sent yet."""
        self._send = send
        self._encoder = encoder
        self._headers = headers
        self._sending = asyncio.Lock()  # heartbeats and events come from two tasks; one sends at a time
        self._sent_at = asyncio.get_running_loop().time()
        self._pump: asyncio.Task[None] | None = None
        self._last: Message | bytes | None = None
        self._is_writing = False
        self._is_ended = False
        self.begun = False

    def end(self) -> None:
        """Ends the stream after what is being written; the client will resume elsewhere.

        An event is not cut off: whether the client has it would not be known, and so not where it goes on.
        """
        self._is_ended = True
        if self._pump is not None and not self._is_writing:
            self._pump.cancel()

    def goodbye(self) -> bytes:
        """The event to finish with, which says where to go on; empty where the edge did not end the stream."""
        return self._encoder.goodbye(self._last) if self._is_ended and self._last is not None else b""

    async def run(self, replies: AsyncGenerator[Message | bytes, None], receive: Receive) -> None:
        """Writes everything. Returns when the handler is done, and after `end`.

        Raises:
            ClientGone: nobody reads any more; the handler has been closed.
            Exception: what the handler raised.
        """
        pump = self._pump = asyncio.create_task(self._write(replies))
        tasks = (pump, asyncio.create_task(_until_disconnect(receive)), asyncio.create_task(self._beat()))
        if self._is_ended:
            pump.cancel()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            gone = not pump.done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if gone:
            raise ClientGone
        if not pump.cancelled():
            pump.result()

    async def finish(self, last: bytes = b"") -> None:
        """Sends the last event and closes the answer.

        Raises:
            ClientGone: nobody reads any more.
        """
        await self._send_part(last, more=False)

    async def _write(self, replies: AsyncGenerator[Message | bytes, None]) -> None:
        encode = self._encoder.event
        async with aclosing(replies):
            async for reply in replies:
                self._is_writing = True
                await self._send_part(encode(reply))
                self._last, self._is_writing = reply, False
                if self._is_ended:
                    return

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._sent_at + HEARTBEAT_SECONDS - loop.time()))
            if self._sent_at + HEARTBEAT_SECONDS <= loop.time():
                await self._send_part(HEARTBEAT)

    async def _send_part(self, part: bytes, *, more: bool = True) -> None:
        async with self._sending:
            try:
                if not self.begun:
                    self.begun = True
                    await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
                await self._send({"type": "http.response.body", "body": part, "more_body": more})
            except Exception as fault:  # whatever a server raises for a connection that is gone
                raise ClientGone from fault
            self._sent_at = asyncio.get_running_loop().time()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # what is left of a body that nobody wants
