"""The REST face of the mesh: one ASGI application made from service descriptors and handlers.

Raw ASGI, because a cached read is answered in some tens of microseconds and a framework's request object alone would
double that. Every request gets a span and a metric by its route, and every fault becomes a problem here, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor

from edge_gateway.rest.binding import Binding, read_routes
from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.endpoint import Endpoint, Visit
from edge_gateway.rest.exchange import Handler
from edge_gateway.rest.intake import Body, ClientGone, Receive, Scope, Send, headers_of
from edge_gateway.rest.metrics import OTHER, Observation, RouteTelemetry
from edge_gateway.rest.pages import Options, Pages, PageTarget, Refused
from edge_gateway.rest.problems import Headers, Problem, TransportProblem, interrupted, problem_of
from edge_gateway.rest.request_ids import answer_headers
from edge_gateway.rest.router import Router
from edge_gateway.rest.sse import STREAM_HEADERS, EventEncoder, EventStream, event
from edge_gateway.rest.template import TemplateFault
from meshkit.core.errors import MeshError, Unavailable
from meshkit.rpc.interceptors.auth import Authentication
from meshkit.rpc.options import ContractFault
from meshkit.rpc.tokens import TokenVerifier
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing

Target: TypeAlias = Endpoint | PageTarget | Options | Refused
"""What a path leads to."""

CLIENT_CLOSED: Final = 499
"""Status that the metrics show for a caller who went away; nobody is sent it."""


class RestApp:
    """Serves every RPC that has an HTTP annotation, and some pages of the process's own."""

    def __init__(
        self,
        services: Sequence[ServiceDescriptor],
        handlers: Mapping[str, Handler],
        *,
        verifier: TokenVerifier | None,
        metrics: Metrics,
        tracing: Tracing,
        deadline_seconds_default: float = 10.0,
        pages: Pages | None = None,
    ) -> None:
        """`handlers` are by full method (`/package.Service/Method`); those without a route are not served.

        Raises:
            ContractFault: naming every route that is malformed, ambiguous or without a handler.
        """
        self._router: Router[Endpoint] = Router()
        self._pages = {
            path.encode(): PageTarget(source, RouteTelemetry(path, "GET", metrics, tracing))
            for path, source in (pages or {}).items()
        }
        self._other = RouteTelemetry(OTHER, OTHER, metrics, tracing)
        self._streams: set[EventStream] = set()
        self._is_draining = False
        authentication, codecs = Authentication(verifier), Codecs()
        faults: list[str] = []
        for route in read_routes(services):
            name, path = route.policy.full_method, route.template.text
            if name not in handlers:
                faults.append(f"{route.policy.name}: {route.http_method} {path} has no handler")
                continue
            try:
                endpoint = Endpoint(
                    Binding(route, codecs),
                    handlers[name],
                    authentication=authentication,
                    telemetry=RouteTelemetry(path, route.http_method, metrics, tracing),
                    deadline_seconds=deadline_seconds_default,
                )
                self._router.add(route.http_method, path, endpoint)
            except (ContractFault, TemplateFault) as fault:
                faults.append(str(fault))
        if faults:
            raise ContractFault("routes cannot be served:\n  " + "\n  ".join(faults))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, as ASGI wants it."""
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        target, values = self._find(scope["method"], scope["raw_path"])
        headers = headers_of(scope)
        observation = target.telemetry.begin(headers.get(b"traceparent", b"").decode("latin-1"))
        visit = Visit(scope, Body(receive, headers), values, headers, observation.span.traceparent)
        if isinstance(target, Endpoint) and target.events is not None and scope["method"] != "HEAD":
            await self._stream(target, target.events, visit, observation, send)
        else:
            await self._answer(target, visit, observation, send)

    def end_streams(self) -> None:
        """Ends all event streams and refuses new ones: the process is about to stop. Clients resume elsewhere."""
        self._is_draining = True
        for stream in self._streams:
            stream.end()

    def _find(self, method: str, raw_path: bytes) -> tuple[Target, tuple[str, ...]]:
        page = self._pages.get(raw_path)
        if page is not None:
            return page, ()
        try:
            if method == "OPTIONS":
                return Options(self._router.allowed(raw_path), self._other), ()
            match = self._router.match(method, raw_path)
        except (MeshError, TransportProblem) as fault:
            return Refused(fault, self._other), ()
        return match.target, match.values

    async def _answer(self, target: Target, visit: Visit, observation: Observation, send: Send) -> None:
        status, code = CLIENT_CLOSED, "CANCELLED"
        try:
            try:
                status, headers, body = await target.answer(visit)
                code = "OK"
            except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 — the border: all becomes a problem
                problem = _judge(fault, visit, target)
                await _refuse(problem, visit, send)
                status, code = problem.status, problem.code
            else:
                await _send_whole(status, headers, body, visit, send)
        except ClientGone:
            pass
        finally:
            observation.end(status, code)

    async def _stream(
        self, target: Endpoint, events: EventEncoder, visit: Visit, observation: Observation, send: Send
    ) -> None:
        status, code = CLIENT_CLOSED, "CANCELLED"
        stream = EventStream(send, events, [*STREAM_HEADERS])
        self._streams.add(stream)
        try:
            try:
                if self._is_draining:
                    raise Unavailable("this process is stopping; another one takes over")
                await stream.run(await target.replies(visit), visit.body.receive)
                await stream.finish(stream.goodbye())
                status, code = 200, "OK"
            except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 — the border: all becomes a problem
                problem = _judge(fault, visit, target)
                if stream.begun:
                    await stream.finish(event("error", problem.body))
                    status, code = 200, problem.code
                else:
                    await _refuse(problem, visit, send)
                    status, code = problem.status, problem.code
        except ClientGone:
            pass
        finally:
            self._streams.discard(stream)
            observation.end(status, code)


async def _refuse(problem: Problem, visit: Visit, send: Send) -> None:
    await visit.body.discard()
    headers = problem.headers + answer_headers(visit.request_id)
    await _send_whole(problem.status, headers, problem.body, visit, send)


async def _send_whole(status: int, headers: Headers, body: bytes, visit: Visit, send: Send) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if visit.scope["method"] == "HEAD" else body})


def _judge(fault: BaseException, visit: Visit, target: Target) -> Problem:
    """The problem that the caller is told of.

    Raises:
        ClientGone, CancelledError: there is nobody to tell.
    """
    route = target.telemetry.name
    if isinstance(fault, ClientGone):
        raise fault
    if isinstance(fault, Exception):
        if isinstance(fault, MeshError) and visit.is_asked and isinstance(target, Endpoint):
            fault = target.spelling.of(fault)
        return problem_of(fault, traceparent=visit.traceparent, route=route)
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise fault
    return interrupted(fault, traceparent=visit.traceparent, route=route)


async def _decline(scope: Scope, receive: Receive, send: Send) -> None:
    """What is not HTTP: the server's start and end need nothing, web sockets are not offered."""
    if scope["type"] != "lifespan":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
