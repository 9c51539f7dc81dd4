"""How a fault looks over HTTP: RFC 9457 `application/problem+json`.

The status of a `MeshError` comes from `meshkit.core.errors.TABLE`. What only HTTP knows (there is no such path, the
body is too large) stands in `TRANSPORT` below; nothing else in the edge knows a status of an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from meshkit.core.errors import TABLE, InternalError, Kind, MeshError, Unavailable
from meshkit.telemetry.tracing import trace_id_of

Headers = list[tuple[bytes, bytes]]

TYPE_PREFIX: Final = "urn:beautymesh:problem:"
"""`type` is this and the reason in lower case with dashes: it names the problem wherever the edge is served from."""

MEDIA_TYPE: Final = b"application/problem+json"

_log = structlog.get_logger("edge.rest")

TRANSPORT: Final[Mapping[str, tuple[int, str]]] = {
    "ROUTE_NOT_FOUND": (404, "There is no such path"),
    "METHOD_NOT_ALLOWED": (405, "The path does not know this method"),
    "NOT_ACCEPTABLE": (406, "The answer has another media type than those accepted"),
    "BODY_TOO_SLOW": (408, "The body did not arrive in time"),
    "BODY_TOO_LARGE": (413, "The body is too large"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The body's media type is not supported"),
}

_ALL: Final = [*TRANSPORT.values(), *((meaning.http_status, meaning.title) for meaning in TABLE.values())]

STATUSES: Final[Mapping[int, str]] = {
    status: " · ".join(title for each, title in _ALL if each == status) for status in sorted({each for each, _ in _ALL})
}
"""Every status of a problem, with the titles that it comes with."""


class TransportProblem(Exception):
    """A fault that only HTTP knows."""

    def __init__(self, reason: str, detail: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """`reason` is a key of the table."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.headers = headers
        self.status, self.title = TRANSPORT[reason]

    @classmethod
    def no_route(cls) -> TransportProblem:
        """No template matches the path."""
        return cls("ROUTE_NOT_FOUND", "no route matches the path")

    @classmethod
    def method_not_allowed(cls, allow: str) -> TransportProblem:
        """Templates match the path, but none for the method."""
        return cls("METHOD_NOT_ALLOWED", f"allowed are {allow}", headers=((b"allow", allow.encode()),))

    @classmethod
    def body_too_large(cls, limit_bytes: int) -> TransportProblem:
        """The RPC's own bound is exceeded."""
        return cls("BODY_TOO_LARGE", f"at most {limit_bytes} bytes are accepted")


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that says what went wrong. `code` is the gRPC status name that comes nearest, for spans."""

    status: int
    code: str
    body: bytes
    headers: Headers


def problem_of(fault: Exception, *, traceparent: str, route: str) -> Problem:
    """The answer to a fault, which is logged here, once.

    Refusals are logged at debug level: they are the caller's business, come in floods and are counted by the metrics.
    """
    trace_id = trace_id_of(traceparent)
    if isinstance(fault, TransportProblem):
        members: dict[str, object] = {"detail": fault.detail, "reason": fault.reason}
        body = _body(fault.reason, fault.title, fault.status, members, trace_id)
        return Problem(fault.status, TABLE[Kind.INVALID].grpc_status, body, _headers(body, *fault.headers))
    if not isinstance(fault, MeshError) or fault.kind is Kind.INTERNAL:
        _log.error("request failed", http_route=route, exc_info=fault)
        return _of_error(InternalError("internal error"), trace_id)
    log = _log.warning if fault.kind is Kind.UNAVAILABLE else _log.debug
    log("request refused", http_route=route, reason=fault.reason, message=fault.message)
    return _of_error(fault, trace_id)


def interrupted(fault: BaseException, *, traceparent: str, route: str) -> Problem:
    """The answer where something that the handler awaited was cancelled behind its back."""
    _log.error("request interrupted", http_route=route, exc_info=fault)
    return _of_error(Unavailable("the work was interrupted"), trace_id_of(traceparent))


def _of_error(error: MeshError, trace_id: str) -> Problem:
    meaning = error.meaning
    members: dict[str, object] = {"reason": error.reason}
    if error.kind is not Kind.INTERNAL:
        members["detail"] = error.message
    if error.metadata:
        members["metadata"] = dict(error.metadata)
    if error.violations:
        members["violations"] = [{"field": each.field, "description": each.description} for each in error.violations]
    body = _body(error.reason, meaning.title, meaning.http_status, members, trace_id)
    headers = _headers(body)
    if error.retry_seconds is not None:
        # Whole seconds are all that the header knows; at once would be no advice.
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_seconds))).encode()))
    if error.kind is Kind.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Problem(meaning.http_status, meaning.grpc_status, body, headers)


def _body(reason: str, title: str, status: int, members: dict[str, object], trace_id: str) -> bytes:
    problem = {"type": problem_type(reason), "title": title, "status": status, **members, "traceId": trace_id}
    return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _headers(body: bytes, *more: tuple[bytes, bytes]) -> Headers:
    return [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]


def problem_type(reason: str) -> str:
    """The `type` of a reason: `INSUFFICIENT_STOCK` is `urn:beautymesh:problem:insufficient-stock`."""
    return TYPE_PREFIX + reason.lower().replace("_", "-")
