"""What a route can answer, as OpenAPI says it: the good answer, "not modified", every problem, and all their headers.

A problem that many routes share is a component, `Problem.<status>`; of a command, whose answers name its request id,
`CommandProblem.<status>`. Where an RPC has reasons of its own, the answer stands at the operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from edge_gateway.rest.binding import Route
from edge_gateway.rest.caching import cache_headers
from edge_gateway.rest.problems import MEDIA_TYPE, TYPE_PREFIX, problem_type
from edge_gateway.rest.reachable import FROM_MEMORY, HTTP, NO_METHOD, PLATFORM, reachable, status_of, titles
from edge_gateway.rest.request_ids import KEY_CHARACTERS_MAX, carries_request_id
from edge_gateway.rest.rules import Schema
from edge_gateway.rest.sse import STREAM_HEADERS
from edge_gateway.rest.template import ANY
from meshkit.rpc.options import Cache

Document = dict[str, Any]

KEY: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX}

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `reason` is stable and for programs.",
    "required": ["type", "title", "status", "reason", "traceId"],
    "properties": {
        "type": {"type": "string", "format": "uri", "pattern": f"^{TYPE_PREFIX}[a-z0-9-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "reason": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "traceId": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
}

HEADERS: Final[dict[str, Document]] = {
    "Age": {"description": "Seconds since inventory's last message.", "schema": {"type": "integer", "minimum": 0}},
    "Allow": {"description": "The methods that the path knows.", "schema": {"type": "string"}},
    "Cache-Status": {
        "description": "Where the answer comes from (RFC 9211); without it, from the service.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "Changes with the answer.", "schema": {"type": "string"}},
    "Idempotency-Key": {"description": "The id that was used, once it is known.", "schema": KEY},
    "Retry-After": {
        "description": "Seconds after which the same request may be sent again, under the same id.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "How to show who asks.", "schema": {"type": "string", "const": "Bearer"}},
}
"""The headers whose value is not the same in every answer of an operation, and that of 401."""

_OF_STATUS: Final = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
_COMMON: Final = frozenset({*PLATFORM, *HTTP, NO_METHOD})


class Responses:
    """Collects the shared answers of the operations of a document."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Only those that are no operation's own: any other problem, and what a path says to a method without one."""
        self._made: dict[str, Document] = {"Problem.default": _problem((), "Another problem.")}
        self._with_verb = {each.template.segments for each in routes if each.template.verb}
        self._of_problem(status_of(NO_METHOD), [NO_METHOD], is_command=False)

    @property
    def components(self) -> dict[str, Document]:
        """Every shared answer so far, by name."""
        return dict(sorted(self._made.items()))

    def of(self, route: Route, content: Document, comment: str) -> Document:
        """Every answer of a route, by status; `content` is that of the good one."""
        responses: Document = {
            "200": {"description": _said_of(content), "headers": _good_headers(route), "content": content}
        }
        if is_kept(route):
            said = "The caller has the answer already."
            responses["304"] = {"description": said, "headers": _good_headers(route)}
        is_command = carries_request_id(route.policy, route.method.input_type)
        segments = route.template.segments
        beside_verbs = not route.template.verb and segments[-1:] == (ANY,) and segments in self._with_verb
        for status, reasons in reachable(route, comment, beside_verbs=beside_verbs).items():
            responses[str(status)] = self._of_problem(status, reasons, is_command=is_command)
        responses["default"] = _reference("Problem.default")
        return responses

    def _of_problem(self, status: int, reasons: list[str], *, is_command: bool) -> Document:
        names = ["Cache-Control", *([_OF_STATUS[status]] if status in _OF_STATUS else [])]
        names += ["Idempotency-Key"] if is_command else []
        response = _problem(reasons, " · ".join(titles(reasons)), headers=names)
        if not _COMMON.issuperset(reasons):
            return response
        name = f"{'Command' if is_command else ''}Problem.{status}"
        known = self._made.setdefault(name, response)
        return _reference(name) if known == response else response


def is_kept(route: Route) -> bool:
    """Whether an answer has an entity tag."""
    return route.http_method == "GET" and route.policy.cache is not Cache.NONE


def _said_of(content: Document) -> str:
    if "text/event-stream" not in content:
        return "What was asked for, or what was done."
    name = content["text/event-stream"]["x-event-data"]["$ref"].rpartition("/")[2]
    return f"Events whose data is a `{name}` in JSON."


def _good_headers(route: Route) -> Document:
    fixed = STREAM_HEADERS[1:] if route.policy.server_streaming else cache_headers(route.policy.cache)
    headers = {_spelt(name): _constant(value) for name, value in fixed}
    names = ["Idempotency-Key"] if carries_request_id(route.policy, route.method.input_type) else []
    names += ["ETag"] if is_kept(route) else []
    names += ["Age", "Cache-Status"] if route.policy.full_method in FROM_MEMORY else []
    return headers | {name: _header(name) for name in names}


def _problem(reasons: Sequence[str], said: str, *, headers: Sequence[str] = ("Cache-Control",)) -> Document:
    schema: Schema = {"$ref": "#/components/schemas/Problem"}
    if reasons:
        schema = {"allOf": [schema, {"properties": {"type": {"enum": [problem_type(each) for each in reasons]}}}]}
    return {
        "description": said,
        "headers": {name: _header(name) for name in headers},
        "content": {MEDIA_TYPE.decode(): {"schema": schema}},
    }


def _header(name: str) -> Document:
    return _constant(b"no-store") if name not in HEADERS else {"$ref": f"#/components/headers/{name}"}


def _constant(value: bytes) -> Document:
    return {"schema": {"type": "string", "const": value.decode()}}


def _spelt(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode().split("-"))


def _reference(name: str) -> Document:
    return {"$ref": f"#/components/responses/{name}"}
