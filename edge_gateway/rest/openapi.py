"""The OpenAPI 3.1 document of everything that is served, made from the descriptors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from edge_gateway.rest.binding import ALL, Route, read_routes
from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.query import parameter_at
from edge_gateway.rest.request_ids import FIELD, carries_request_id
from edge_gateway.rest.responses import HEADERS, KEY, PROBLEM, Document, Responses, is_kept
from edge_gateway.rest.rules import Schema
from edge_gateway.rest.schemas import PREFIX, Schemas
from edge_gateway.rest.sse import LAST_EVENT_ID_CHARACTERS_MAX
from edge_gateway.rest.template import ANY, REST, Template

SECURITY: Final = "bearer"
_HTTP_METHODS: Final = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
"""What a path item of OpenAPI can hold."""


def openapi_document(
    services: Sequence[ServiceDescriptor], *, title: str, version: str, descriptions: Mapping[str, str] | None = None
) -> Document:
    """The document. `descriptions` are the contract's comments by full name.

    Raises:
        ContractFault: a route cannot be read.
    """
    routes = [route for route in read_routes(services) if route.http_method in _HTTP_METHODS]
    said = descriptions or {}
    schemas = Schemas(
        [route.method.input_type for route in routes],
        outside=_outside_of_bodies(routes),
        filled=_filled_by_the_edge(routes),
        descriptions=said,
    )
    codecs, responses = Codecs(), Responses(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _Operation(route, schemas, responses, codecs, said).document()
        paths.setdefault(_path(route, codecs), {})[route.http_method.lower()] = operation
    served = {route.policy.service for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": each.name, **_described(said.get(each.full_name))} for each in services if each.full_name in served
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {SECURITY: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**schemas.components, "Problem": PROBLEM},
            "headers": HEADERS,
            "responses": responses.components,
        },
    }


def render(document: Document) -> bytes:
    """The document as it is served."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class _Operation:
    """One route as an operation."""

    def __init__(
        self, route: Route, schemas: Schemas, responses: Responses, codecs: Codecs, said: Mapping[str, str]
    ) -> None:
        self._route = route
        self._schemas = schemas
        self._responses = responses
        self._codecs = codecs
        self._said = said.get(route.method.full_name, "")
        self._has_request_id = carries_request_id(route.policy, route.method.input_type)

    def document(self) -> Document:
        route, policy = self._route, self._route.policy
        service, _, rpc = policy.name.rpartition("/")
        scopes = sorted(policy.scopes)
        operation: Document = {
            "operationId": f"{service.rpartition('.')[2]}.{rpc}" + (f".{route.number + 1}" if route.number else ""),
            "tags": [service.rpartition(".")[2]],
            "summary": self._said.partition(".")[0].replace("\n", " ") or rpc,
            **_described(self._said),
            "security": [] if policy.public else [{SECURITY: scopes}],
            "x-scopes": scopes,
            "parameters": [*self._path_parameters(), *self._query_parameters(), *self._header_parameters()],
            "responses": self._responses.of(route, self._content(), self._said),
        }
        if route.takes_body:
            operation["requestBody"] = self._request_body()
            operation["x-body-limit-bytes"] = policy.body_limit_bytes
        return operation

    def _path_parameters(self) -> Iterator[Document]:
        for variable in self._route.template.variables:
            parameter = parameter_at(self._route.method.input_type, tuple(variable.field_path.split(".")), self._codecs)
            assert parameter is not None, f"{variable.field_path} was checked when the route was bound"
            schema = self._schemas.field(parameter.field)
            if schema.get("type") == "string" and "enum" not in schema and variable.stop is not None:
                schema["minLength"] = max(1, schema.get("minLength", 0))  # no template takes an empty segment
            yield _parameter("path", parameter.json_path, schema, required=True)

    def _query_parameters(self) -> Iterator[Document]:
        route = self._route
        if route.body == ALL:
            return
        bound = route.bound
        for fields in self._settable(route.method.input_type, ()):
            path = tuple(each.name for each in fields)
            if any(path[: len(each)] == each for each in bound):
                continue
            name = ".".join(each.json_name for each in fields)
            must = len(fields) == 1 and self._schemas.is_required(fields[0])
            yield _parameter("query", name, self._schemas.field(fields[-1]), required=must)

    def _settable(
        self, message: Descriptor, above: tuple[FieldDescriptor, ...]
    ) -> Iterator[tuple[FieldDescriptor, ...]]:
        """The fields that a query can set, each with those on the way to it. A type is not entered within itself."""
        entered = {each.message_type.full_name for each in above if each.message_type is not None}
        for field in message.fields:
            fields = (*above, field)
            if parameter_at(message, (field.name,), self._codecs) is not None:
                yield fields
            elif field.message_type is not None and not field.is_repeated:
                child = field.message_type
                if child.full_name not in entered and not self._codecs.of(child).is_well_known:
                    yield from self._settable(child, fields)

    def _header_parameters(self) -> Iterator[Document]:
        if self._has_request_id:
            said = "The request's id, in place of `requestId`. The same id with the same request is done once."
            yield _parameter("header", "Idempotency-Key", KEY, required=False, description=said)
        if self._route.policy.server_streaming and "resume_token" in self._route.method.input_type.fields_by_name:
            schema: Schema = {"type": "string", "maxLength": LAST_EVENT_ID_CHARACTERS_MAX}
            said = "The `id` of the last event that was seen, in place of `resumeToken`."
            yield _parameter("header", "Last-Event-ID", schema, required=False, description=said)
        if is_kept(self._route):
            said = "The `ETag` of the answer that the caller has."
            yield _parameter("header", "If-None-Match", {"type": "string"}, required=False, description=said)

    def _request_body(self) -> Document:
        request = self._route.method.input_type
        if self._route.body == ALL:
            schema = self._schemas.of(request)
            own = self._schemas.components[request.full_name.removeprefix(PREFIX)]
            return {"required": "required" in own, "content": {"application/json": {"schema": schema}}}
        schema = self._schemas.field(request.fields_by_name[self._route.body])
        return {"required": True, "content": {"application/json": {"schema": schema}}}

    def _content(self) -> Document:
        """What the good answer holds."""
        route = self._route
        reply = route.method.output_type
        if route.policy.server_streaming:
            return {"text/event-stream": {"schema": {"type": "string"}, "x-event-data": self._schemas.of(reply)}}
        name = route.response_body
        schema = self._schemas.field(reply.fields_by_name[name]) if name else self._schemas.of(reply)
        return {"application/json": {"schema": schema}}


def _parameter(place: str, name: str, schema: Schema, *, required: bool, description: str = "") -> Document:
    schema = dict(schema)
    said = schema.pop("description", "") or description
    return {"name": name, "in": place, "required": required, **_described(said), "schema": schema}


def _described(said: str | None) -> Document:
    return {"description": said} if said else {}


def _outside_of_bodies(routes: Sequence[Route]) -> set[str]:
    """The fields that every route of their type takes from the path."""
    found: dict[str, set[str]] = {}
    for route in routes:
        request = route.method.input_type
        in_path = {f"{request.full_name}.{each.field_path}" for each in route.template.variables}
        found[request.full_name] = found.get(request.full_name, in_path) & in_path
    return set().union(*found.values())


def _filled_by_the_edge(routes: Sequence[Route]) -> set[str]:
    """The request ids: where a caller gives none, the edge makes one."""
    return {
        f"{route.method.input_type.full_name}.{FIELD}"
        for route in routes
        if carries_request_id(route.policy, route.method.input_type)
    }


def _path(route: Route, codecs: Codecs) -> str:
    """The template as OpenAPI writes it: `/v1/reservations/{reservationId}:commit`."""
    template: Template = route.template
    parts: list[str] = []
    at = 0
    for variable in template.variables:
        parts += _plain(template.segments[at : variable.start], at)
        parameter = parameter_at(route.method.input_type, tuple(variable.field_path.split(".")), codecs)
        parts.append(f"{{{parameter.json_path if parameter is not None else variable.field_path}}}")
        at = len(template.segments) if variable.stop is None else variable.stop
    parts += _plain(template.segments[at:], at)
    return "/" + "/".join(parts) + (f":{template.verb}" if template.verb else "")


def _plain(segments: Sequence[str], at: int) -> list[str]:
    return [f"{{segment{at + i}}}" if each in (ANY, REST) else each for i, each in enumerate(segments)]
