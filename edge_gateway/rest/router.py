"""Which route a request's raw path and method belong to, and what the path says.

A path is split on `/` first and decoded segment by segment afterwards, so that `a%2Fb` stays one segment. Where several
templates match, the leftmost literal wins over `*`, and `*` over `**`; templates of one method that this rule cannot
order are refused at the start. `:verb` at the end belongs to the template that has this verb in this place; elsewhere a
colon is a character like any other, and `%3A` always is.

A route of the request's own method goes before one of any method (`*`); HEAD takes that of GET where it has none.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from edge_gateway.rest.problems import TransportProblem
from edge_gateway.rest.template import ANY, REST, Template, Variable, parse_template
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.options import ContractFault

TargetT = TypeVar("TargetT")

CACHED_PATHS_MAX: Final = 4_096
"""Bound of the memory of paths already matched. A hot SKU's path costs 0.2 µs from it, about 4 µs without."""

CACHED_PATH_BYTES_MAX: Final = 256
"""Longer paths are matched anew each time, so that the memory stays below some 2 MiB."""

ANY_METHOD: Final = "*"
"""The method of a route that serves all (`custom {kind: "*"}`)."""

METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
"""What `Allow` lists for such a route; OPTIONS is the edge's own."""

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_ENCODED_SLASH: Final = re.compile(r"(%2[Ff])")


@dataclass(frozen=True, slots=True)
class Match(Generic[TargetT]):
    """The route that was found; `values` are in the order of its template's variables."""

    target: TargetT
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Route(Generic[TargetT]):
    template: Template
    target: TargetT


class _Node(Generic[TargetT]):
    """The paths that share the segments so far. `ends` and `rests` are by verb, then by method."""

    __slots__ = ("any", "ends", "literals", "rests")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[TargetT]] = {}
        self.any: _Node[TargetT] | None = None
        self.ends: dict[str, dict[str, _Route[TargetT]]] = {}
        self.rests: dict[str, dict[str, _Route[TargetT]]] = {}


class Router(Generic[TargetT]):
    """Finds targets by path; filled at the start."""

    def __init__(self) -> None:
        """Starts empty."""
        self._root: _Node[TargetT] = _Node()
        self._templates: dict[str, list[Template]] = {}
        self._verbs: set[str] = set()
        self._cached: OrderedDict[tuple[str, bytes], Match[TargetT]] = OrderedDict()

    def add(self, method: str, path: str, target: TargetT) -> Template:
        """Adds a route.

        Raises:
            TemplateFault: the path is malformed.
            ContractFault: another template of the method matches some of the same paths and neither is more special.
        """
        template = parse_template(path)
        others = self._templates.setdefault(method, [])
        for other in others:
            if template.overlaps(other) and template.covers(other) == other.covers(template):
                raise ContractFault(f"{method} {path} and {method} {other.text} match the same paths")
        others.append(template)
        if template.verb:
            self._verbs.add(template.verb)
        node = self._root
        for segment in template.segments:
            if segment == REST:
                node.rests.setdefault(template.verb, {})[method] = _Route(template, target)
                return template
            if segment == ANY:
                if node.any is None:
                    node.any = _Node()
                node = node.any
            else:
                node = node.literals.setdefault(segment, _Node())
        node.ends.setdefault(template.verb, {})[method] = _Route(template, target)
        return template

    def match(self, method: str, raw_path: bytes) -> Match[TargetT]:
        """The route of a request.

        Raises:
            InvalidRequest: the path is not percent-encoded UTF-8, or holds NUL.
            TransportProblem: there is no such path (404), or not with this method (405, with what is allowed).
        """
        key = (method, raw_path)
        known = self._cached.get(key)
        if known is not None:
            return known
        wanted = ("HEAD", "GET", ANY_METHOD) if method == "HEAD" else (method, ANY_METHOD)
        allowed, found = self._find(wanted, raw_path)
        if found is None:
            if allowed:
                raise TransportProblem.method_not_allowed(allow_header(allowed))
            raise TransportProblem.no_route()
        if len(raw_path) <= CACHED_PATH_BYTES_MAX:
            self._cached[key] = found
            if len(self._cached) > CACHED_PATHS_MAX:
                self._cached.popitem(last=False)
        return found

    def allowed(self, raw_path: bytes) -> str:
        """The methods of a path, as `Allow` lists them.

        Raises:
            InvalidRequest, TransportProblem: as `match`.
        """
        allowed, _ = self._find(("",), raw_path)
        if not allowed:
            raise TransportProblem.no_route()
        return allow_header(allowed)

    def _find(self, methods: Sequence[str], raw_path: bytes) -> tuple[set[str], Match[TargetT] | None]:
        """The methods of the path, and the match by the first of `methods` that has one."""
        allowed: set[str] = set()
        raw = _split(raw_path)
        if not all(raw):  # an empty segment (`//`, or a slash at the end) is in no template
            return allowed, None
        stem, colon, verb = raw[-1].rpartition(":")
        if colon and verb in self._verbs and stem:
            found = self._match([*raw[:-1], stem], verb, methods, allowed)
            if found is not None or allowed:
                return allowed, found
        return allowed, self._match(raw, "", methods, allowed)

    def _match(self, raw: list[str], verb: str, methods: Sequence[str], allowed: set[str]) -> Match[TargetT] | None:
        segments = [_decode(segment) for segment in raw]
        for method in methods:
            route = _walk(self._root, segments, 0, verb, method, allowed)
            if route is not None:
                return Match(route.target, tuple(_value(each, raw, segments) for each in route.template.variables))
        return None


def _walk(  # noqa: PLR0917 — a recursion's state
    node: _Node[TargetT], segments: list[str], index: int, verb: str, method: str, allowed: set[str]
) -> _Route[TargetT] | None:
    """The best route below a node; collects the methods of all that match on the way. As deep as the templates."""
    found: _Route[TargetT] | None = None
    if index == len(segments):
        ends = node.ends.get(verb)
        if ends is not None:
            allowed.update(ends)
            found = ends.get(method)
    else:
        child = node.literals.get(segments[index])
        if child is not None:
            found = _walk(child, segments, index + 1, verb, method, allowed)
        if found is None and node.any is not None:
            found = _walk(node.any, segments, index + 1, verb, method, allowed)
    if found is None and verb in node.rests:
        rests = node.rests[verb]
        allowed.update(rests)
        found = rests.get(method)
    return found


def allow_header(methods: set[str]) -> str:
    """The value of `Allow`: what is routed, and what follows from it."""
    if ANY_METHOD in methods:
        methods = methods - {ANY_METHOD} | METHODS
    implied = {"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(methods | implied))


def _split(raw_path: bytes) -> list[str]:
    try:
        text = raw_path.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8") from None
    return text.removeprefix("/").split("/")


def _decode(segment: str) -> str:
    if "%" not in segment:
        if "\0" in segment:
            raise InvalidRequest("the path holds NUL")
        return segment
    return percent_decode(segment.encode(), "path")


def _value(variable: Variable, raw: list[str], segments: list[str]) -> str:
    """What a variable captured. Where it may take several segments, `%2F` stays as it is: http.proto wants it so."""
    if variable.takes_one_segment:
        return segments[variable.start]
    return "/".join(_decode_but_slash(segment) for segment in raw[variable.start : variable.stop])


def _decode_but_slash(segment: str) -> str:
    parts = _ENCODED_SLASH.split(segment)  # text and slashes by turns
    return "".join(part if index % 2 else _decode(part) for index, part in enumerate(parts))


def percent_decode(text: bytes, where: str) -> str:
    """Decodes `%XX`, strictly.

    Raises:
        InvalidRequest: a `%` without two hexadecimal digits, bytes that are not UTF-8, or NUL. `where` is named in it.
    """
    at = text.find(b"%")
    while at >= 0:
        digits = text[at + 1 : at + 3]
        if len(digits) != 2 or not _HEX.issuperset(digits):  # noqa: PLR2004 — %XX
            raise InvalidRequest(f"the {where} holds a malformed percent-encoding")
        at = text.find(b"%", at + 3)
    try:
        decoded = (unquote_to_bytes(text) if b"%" in text else text).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the {where} is not percent-encoded UTF-8") from None
    if "\0" in decoded:
        raise InvalidRequest(f"the {where} holds NUL")
    return decoded
