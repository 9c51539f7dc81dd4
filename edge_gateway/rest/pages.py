"""What is served beside the RPCs, without a token: fixed documents, the process's own state, and what is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edge_gateway.rest.caching import etag_of, tagged
from edge_gateway.rest.endpoint import Reply, Visit
from edge_gateway.rest.metrics import RouteTelemetry
from edge_gateway.rest.problems import TransportProblem
from edge_gateway.rest.router import allow_header


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is ready. An `etag` lets the caller's cache ask whether it changed."""

    body: bytes
    content_type: str
    status: int = 200
    cache_control: str = "no-store"
    etag: str = ""


PageSource: TypeAlias = Callable[[], Page]
"""Makes the page for one request; must not block."""

Pages: TypeAlias = Mapping[str, PageSource]
"""By exact path."""


def fixed(body: bytes, content_type: str) -> PageSource:
    """A page that never changes while the process runs."""
    page = Page(body, content_type, cache_control="public, no-cache", etag=etag_of(body))
    return lambda: page


@dataclass(frozen=True, slots=True)
class PageTarget:
    """Serves a page to GET and HEAD."""

    source: PageSource
    telemetry: RouteTelemetry
    events: None = None

    async def answer(self, visit: Visit) -> Reply:
        """The page, or that the caller has it.

        Raises:
            TransportProblem: for other methods.
        """
        allow = allow_header({"GET"})
        if visit.scope["method"] == "OPTIONS":
            return allowed(allow)
        if visit.scope["method"] not in ("GET", "HEAD"):
            raise TransportProblem.method_not_allowed(allow)
        page = self.source()
        headers = [(b"cache-control", page.cache_control.encode())]
        if page.etag and tagged(headers, page.etag, visit.headers):
            return 304, headers, b""
        headers.append((b"content-type", page.content_type.encode()))
        headers.append((b"content-length", str(len(page.body)).encode()))
        return page.status, headers, page.body


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands where no route was found."""

    fault: Exception
    telemetry: RouteTelemetry
    events: None = None

    async def answer(self, _visit: Visit) -> Reply:
        """Raises what the router raised."""
        raise self.fault


@dataclass(frozen=True, slots=True)
class Options:
    """Says which methods a path knows."""

    allow: str
    telemetry: RouteTelemetry
    events: None = None

    async def answer(self, _visit: Visit) -> Reply:
        """204 and `Allow`."""
        return allowed(self.allow)


def allowed(allow: str) -> Reply:
    """The answer to OPTIONS."""
    return 204, [(b"allow", allow.encode())], b""
