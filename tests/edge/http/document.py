"""What the mesh says about itself in `/openapi.json`, and whether an answer is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge_gateway.bootstrap import SERVED
from edge_gateway.rest.descriptions import read_descriptions
from edge_gateway.rest.openapi import openapi_document, render
from meshkit.service import software_version
from tests.e2e.client import Event, Reply

CONFIG: Final = SchemathesisConfig.from_dict({
    "generation": {"mode": "all"},  # what is good by the document, and what is not
    "phases": {"coverage": {"unexpected-methods": []}},
    "max-stream-events": 1,  # a watch has no end
})  # fmt: skip

CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""What holds for every answer, whatever was asked."""

SERVED_BYTES: Final = render(
    openapi_document(SERVED, title="Beautymesh", version=software_version(), descriptions=read_descriptions())
)


def made_strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what would let an answer pass unseen.

    `default` stands for statuses that nobody has thought of; a type that only answers hold is open to fields that come
    later; and what events carry is said as `x-event-data`, which no tool looks at: `itemSchema` comes with OpenAPI 3.2.
    """
    for schema in document["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    for item in document["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"]
            stream = operation["responses"]["200"]["content"].get("text/event-stream")
            if stream is not None:
                del stream["schema"]  # of the text as a whole
                data = {"contentMediaType": "application/json", "contentSchema": stream["x-event-data"]}
                stream["itemSchema"] = {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {"data": {"type": "string", **data}},
                }
    return document


DOCUMENT: Final[dict[str, Any]] = made_strict(json.loads(SERVED_BYTES))
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)

OPERATIONS: Final = {
    operation["operationId"]: (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
"""Method and path template by operation id."""

OF_EVERY_MESSAGE: Final = frozenset({
    "connection", "content-length", "content-type", "date", "server", "transfer-encoding",
})  # fmt: skip
"""Headers of HTTP itself, which OpenAPI does not let an answer declare or which the server in front adds."""

_TARGETS: Final = {
    operation_id: (method, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))))
    for operation_id, (method, path) in OPERATIONS.items()
}


def operation_of(method: str, target: str) -> str:
    """The id of the operation that a request is for; empty if there is none. A verb goes before a colon in a name."""
    path = target.partition("?")[0]
    found = [each for each, (known, pattern) in _TARGETS.items() if known == method and pattern.fullmatch(path)]
    return max(found, key=lambda each: OPERATIONS[each][1].count(":"), default="")


def assert_documented(operation_id: str, reply: Reply) -> None:
    """Asserts that the document has this answer: its status, media type, headers, and every member of its body."""
    method, path = OPERATIONS[operation_id]
    operation = SCHEMA[path][method]
    response = schemathesis.Response(
        status_code=reply.status,
        headers={name: [value] for name, value in reply.headers.items()},
        content=reply.body,
        request=requests.Request(method, f"http://edge{path}").prepare(),
        elapsed=0.0,
        verify=False,
    )
    names = dict.fromkeys(re.findall(r"\{(\w+)\}", path), "x")
    operation.Case(path_parameters=names).validate_response(response, checks=CHECKS)
    answer = DOCUMENT["paths"][path][method.lower()]["responses"][str(reply.status)]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    undeclared = {*reply.headers} - OF_EVERY_MESSAGE - {name.lower() for name in answer["headers"]}
    assert not undeclared, f"{operation_id} {reply.status} brings {undeclared}"


def assert_events_documented(operation_id: str, events: Sequence[Event]) -> None:
    """The same for what came of a stream."""
    body = "".join(f"event: {each.name}\ndata: {json.dumps(each.data)}\n\n" for each in events)
    assert_documented(operation_id, Reply(200, {"content-type": "text/event-stream"}, body.encode()))
