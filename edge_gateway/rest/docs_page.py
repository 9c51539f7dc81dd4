"""The page at `/docs`: every operation and schema of the OpenAPI document, in one file that needs no network."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any, Final

from edge_gateway.rest.responses import Document

EXAMPLE_DEPTH_MAX: Final = 6
"""How deep an example goes into types that contain others."""

_REFERENCE: Final = "#/components/schemas/"
_RESPONSE: Final = "#/components/responses/"
_PLAIN: Final[Mapping[str, object]] = {"integer": 1, "number": 1.5, "boolean": True}
_TEXTS: Final[Mapping[str, str]] = {"date-time": "2026-03-01T12:00:00Z", "int64": "1", "uint64": "1"}
_METHOD_ORDER: Final = ("get", "put", "post", "patch", "delete")
_CODE: Final = re.compile(r"`([^`]+)`")


def docs_page(document: Document) -> bytes:
    """The page, as it is served."""
    page = resources.files(__package__).joinpath("docs_page.html").read_text(encoding="utf-8")
    sections = [_section(document, tag) for tag in document["tags"]]
    filled = {
        "title": escape(document["info"]["title"]),
        "version": escape(document["info"]["version"]),
        "links": "".join(f'<a href="#{escape(tag["name"])}">{escape(tag["name"])}</a>' for tag in document["tags"]),
        "operations": "".join(sections),
        "schemas": "".join(_schema(name, each) for name, each in document["components"]["schemas"].items()),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], page).encode()


def _section(document: Document, tag: Mapping[str, str]) -> str:
    operations = "".join(
        _operation(document, method, path, item[method])
        for path, item in document["paths"].items()
        for method in _METHOD_ORDER
        if method in item and tag["name"] in item[method]["tags"]
    )
    name = escape(tag["name"])
    return f'<section><h2 id="{name}">{name}</h2>{_prose(tag.get("description"))}{operations}</section>'


def _operation(document: Document, method: str, path: str, operation: Document) -> str:
    scopes = " ".join(f"<code>{escape(each)}</code>" for each in operation["x-scopes"]) or "public: no token"
    words = escape(f"{operation['operationId']} {method} {path}".lower(), quote=True)
    return (
        f'<details class="operation" id="{escape(operation["operationId"])}" data-words="{words}"><summary>'
        f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code> '
        f"<span>{escape(operation['operationId'].partition('.')[2])}</span></summary>"
        f"{_prose(operation.get('description'))}<p>Scopes: {scopes}</p>"
        f"{_parameters(operation['parameters'])}{_bodies(document, operation)}"
        f"<h4>Example</h4><pre>{escape(_curl(document, method, path, operation))}</pre></details>"
    )


def _parameters(parameters: list[Document]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code>{'' if not each['required'] else ' *'}</td><td>{each['in']}</td>"
        f"<td>{_type(each['schema'])}</td><td>{_inline(each.get('description', ''))}</td></tr>"
        for each in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>"


def _bodies(document: Document, operation: Document) -> str:
    parts = []
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_type(operation['requestBody']['content']['application/json']['schema'])}</p>")
    for media_type, content in operation["responses"]["200"]["content"].items():
        said = _type(content.get("x-event-data", content["schema"]))
        parts.append(f"<p>Answer: {said} as <code>{escape(media_type)}</code></p>")
    rows = "".join(
        f"<tr><td>{status}</td><td>{_reasons(document, answer)}</td></tr>"
        for status, answer in operation["responses"].items()
        if status not in ("200", "304", "default")
    )
    return f'{"".join(parts)}<h4>Problems, each a <a href="#Problem">Problem</a></h4><table>{rows}</table>'


def _reasons(document: Document, answer: Document) -> str:
    """The reasons that a problem can have, from its types."""
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].removeprefix(_RESPONSE)]
    _, narrowed = answer["content"]["application/problem+json"]["schema"]["allOf"]
    types = (each.rpartition(":")[2] for each in narrowed["properties"]["type"]["enum"])
    return ", ".join(f"<code>{escape(each.upper().replace('-', '_'))}</code>" for each in types)


def _schema(name: str, schema: Document) -> str:
    required = schema.get("required", ())
    rules = "".join(f"<p>Rule: {_inline(each['message'])}</p>" for each in schema.get("x-rules", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td>"
        f"<td>{_type(each)}</td><td>{_inline(_said(each))}</td></tr>"
        for field, each in schema.get("properties", {}).items()
    )
    return (
        f'<details class="schema" id="{escape(name)}" data-words="{escape(name.lower())}"><summary>'
        f"<code>{escape(name)}</code></summary>{_prose(schema.get('description'))}{rules}<table>{rows}</table></details>"
    )


def _said(schema: Document) -> str:
    """What a field's comment says, and its rules."""
    return " ".join([schema.get("description", ""), *(f"({each['message']})" for each in schema.get("x-rules", ()))])


def _type(schema: Document) -> str:
    """A type in a few words, with its bounds."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REFERENCE))
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema)}"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}{_bounds(schema)}"
    return escape(schema.get("format") or str(schema.get("type", "any value"))) + _bounds(schema)


def _bounds(schema: Document) -> str:
    least = ("x-minimum", "minimum", "minLength", "minItems", "minProperties")
    most = ("x-maximum", "maximum", "maxLength", "maxItems", "maxProperties")
    found = [next((f"{schema[key]}" for key in keys if key in schema), "") for keys in (least, most)]
    return f" <small>{escape(found[0])}…{escape(found[1])}</small>" if any(found) else ""


def _curl(document: Document, method: str, path: str, operation: Document) -> str:
    example = re.sub(r"\{(\w+(?:\.\w+)*)\}", lambda found: found[1].upper(), path)
    needed = [each for each in operation["parameters"] if each["in"] == "query" and each["required"]]
    if needed:
        example += "?" + "&".join(f"{each['name']}={_example(document, each['schema'], 0)}" for each in needed)
    parts = ["curl", *(["-N"] if "text/event-stream" in operation["responses"]["200"]["content"] else [])]
    if method != "get":
        parts += ["-X", method.upper()]
    parts += [f'"$EDGE{example}"']
    if operation["security"] != []:
        parts += ["-H", '"Authorization: Bearer $TOKEN"']
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(_example(document, schema, 0), ensure_ascii=False)
        parts += ["-H", '"Content-Type: application/json"', "-d", shlex.quote(body)]
    return " ".join(parts)


def _example(document: Document, schema: Document, depth: int) -> Any:  # noqa: ANN401 — JSON is anything
    """A small value that the schema allows: what is required, and one member where there is a choice."""
    if "$ref" in schema:
        return _example(document, document["components"]["schemas"][schema["$ref"].removeprefix(_REFERENCE)], depth)
    if "enum" in schema:
        return schema["enum"][-1]
    kind = str(schema.get("type"))
    if kind == "object":
        names = list(_needed(schema)) if depth < EXAMPLE_DEPTH_MAX else []
        return {name: _example(document, schema["properties"][name], depth + 1) for name in names}
    if kind == "array":
        return [_example(document, schema.get("items", {}), depth + 1)]
    return _text(schema) if kind == "string" else _PLAIN.get(kind, {})


def _text(schema: Document) -> str:
    pattern = schema.get("pattern", "")
    if pattern.endswith("s$"):
        return str(schema.get("x-minimum", "1s"))
    if "[A-Z]{3}" in pattern:
        return "EUR"
    return _TEXTS.get(schema.get("format", ""), "string")[: schema.get("maxLength")]


def _needed(schema: Document) -> Iterator[str]:
    yield from schema.get("required", ())
    for choice in schema.get("allOf", ()):
        first = choice["oneOf"][0]["required"][0]
        if all("required" in each for each in choice["oneOf"]) and first not in schema.get("required", ()):
            yield first


def _prose(said: str | None) -> str:
    return f"<p>{_inline(said)}</p>" if said else ""


def _inline(said: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(said))
