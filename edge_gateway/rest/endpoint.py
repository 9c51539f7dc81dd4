"""What one route does with one request: who may, what was asked, what is answered.

    route → authenticate → body → decode → request id → handler → encode → cache headers

Authentication comes before the body is read: who may not call costs no more than a header.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from edge_gateway.rest.binding import Binding
from edge_gateway.rest.caching import cache_headers, etag_of, tagged
from edge_gateway.rest.deadline import within
from edge_gateway.rest.exchange import Answer, Exchange, Handler
from edge_gateway.rest.intake import (
    EVENT_STREAM,
    JSON,
    Body,
    Scope,
    peer_of,
    require_accepted,
    require_json,
)
from edge_gateway.rest.metrics import RouteTelemetry
from edge_gateway.rest.problems import Headers
from edge_gateway.rest.request_ids import answer_headers, carries_request_id, header_key, settle
from edge_gateway.rest.spelling import Spelling
from edge_gateway.rest.sse import STREAM_HEADERS, EventEncoder, resume
from meshkit.core.principal import Principal
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.interceptors.auth import Authentication
from meshkit.rpc.options import Cache

Reply: TypeAlias = tuple[int, Headers, bytes]
"""Status, headers and body."""

JSON_HEADER: Final = (b"content-type", JSON)


@dataclass(slots=True)
class Visit:
    """One request on its way through an endpoint. `request_id` is what its answer names, once it is known.

    `is_asked`: the handler was asked, so that a fault is a service's, which names fields as the contract does.
    """

    scope: Scope
    body: Body
    values: tuple[str, ...]
    headers: dict[bytes, bytes]
    traceparent: str
    request_id: str = ""
    is_asked: bool = False


class Endpoint:
    """Serves one route."""

    __slots__ = (
        "_answers_kept", "_authentication", "_binding", "_cache_headers", "_deadline_seconds", "_handler",
        "_has_request_id", "_policy", "_takes_body", "events", "spelling", "telemetry",
    )  # fmt: skip

    def __init__(
        self,
        binding: Binding,
        handler: Handler,
        *,
        authentication: Authentication,
        telemetry: RouteTelemetry,
        deadline_seconds: float,
    ) -> None:
        """`deadline_seconds` is what a unary request may take; a stream has no end."""
        route = binding.route
        self._binding = binding
        self._handler: Any = handler
        self._policy = route.policy
        self._authentication = authentication
        self._deadline_seconds = deadline_seconds
        self._takes_body = route.takes_body
        self._has_request_id = carries_request_id(route.policy, route.method.input_type)
        self._cache_headers = cache_headers(route.policy.cache)
        self._answers_kept = route.policy.cache is not Cache.NONE and route.http_method == "GET"
        self.spelling = Spelling(route.method.input_type)
        self.telemetry = telemetry
        self.events: EventEncoder | None = None
        if route.policy.server_streaming:
            self.events = EventEncoder(route.method.output_type, binding.encode)

    async def answer(self, visit: Visit) -> Reply:
        """A unary answer; of a stream what HEAD is told.

        Raises:
            MeshError, TransportProblem, ClientGone: it is refused, or nobody waits for it.
        """
        if self.events is not None:
            await self._stream_call(visit)
            return 200, list(STREAM_HEADERS), b""
        principal = self._enter(visit, JSON)
        request = await self._asked(visit)
        deadline = asyncio.get_running_loop().time() + self._deadline_seconds
        exchange = self._exchange(visit, principal, deadline)
        mark = current_call.set(exchange.call)
        visit.is_asked = True
        try:
            reply = await within(self._handler(request, exchange), deadline)
        finally:
            current_call.reset(mark)
        return self._dress(visit, reply)

    async def replies(self, visit: Visit) -> AsyncGenerator[Message | bytes, None]:
        """The messages of a stream, not yet begun. The call stays current for whatever runs in this task.

        Raises:
            MeshError, TransportProblem, ClientGone: it is refused, or nobody waits for it.
        """
        request, exchange = await self._stream_call(visit)
        current_call.set(exchange.call)
        visit.is_asked = True
        stream: AsyncGenerator[Message | bytes, None] = self._handler(request, exchange)
        return stream

    async def _stream_call(self, visit: Visit) -> tuple[Message, Exchange]:
        principal = self._enter(visit, EVENT_STREAM)
        request = await self._asked(visit)
        last_event_id = visit.headers.get(b"last-event-id")
        if last_event_id is not None:
            resume(request, last_event_id)
        return request, self._exchange(visit, principal, None)

    def _enter(self, visit: Visit, media_type: bytes) -> Principal:
        """What the headers alone decide."""
        principal = self._authentication.admit(self._policy, _text(visit.headers.get(b"authorization")))
        if self._has_request_id:
            visit.request_id = header_key(visit.scope["headers"])
        require_accepted(visit.headers, media_type)
        return principal

    async def _asked(self, visit: Visit) -> Message:
        body = b""
        if self._takes_body:
            body = await visit.body.read(limit_bytes=self._policy.body_limit_bytes)
            if body:
                require_json(visit.headers)
        request = self._binding.request(visit.values, visit.scope["query_string"], body)
        if self._has_request_id:
            visit.request_id = settle(request, visit.request_id)
        return request

    def _exchange(self, visit: Visit, principal: Principal, deadline: float | None) -> Exchange:
        peer = peer_of(visit.scope.get("client"))
        call = Call(self._policy, principal, deadline, visit.traceparent, peer, None)
        return Exchange(call, _wants_fresh(visit.headers))

    def _dress(self, visit: Visit, reply: Message | Answer) -> Reply:
        etag = ""
        headers: Headers = [JSON_HEADER, *self._cache_headers]
        body: Message | bytes
        if isinstance(reply, Answer):
            body, etag = reply.body, reply.etag
            headers += reply.headers
        else:
            body = reply
        encoded = body if isinstance(body, bytes) else self._binding.encode(body)
        if visit.request_id:
            headers += answer_headers(visit.request_id)
        if self._answers_kept and tagged(headers, etag or etag_of(encoded), visit.headers):
            return 304, headers[1:], b""  # all but the content type: there is no content
        headers.append((b"content-length", str(len(encoded)).encode()))
        return 200, headers, encoded


def _wants_fresh(headers: Mapping[bytes, bytes]) -> bool:
    asked = headers.get(b"cache-control")
    return asked is not None and b"no-cache" in asked.lower()


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1")
