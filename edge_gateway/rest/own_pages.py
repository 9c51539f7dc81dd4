"""What the edge's HTTP port shows of the process itself, without a token."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CONTENT_TYPE_LATEST

from edge_gateway.rest.descriptions import read_descriptions
from edge_gateway.rest.docs_page import docs_page
from edge_gateway.rest.openapi import openapi_document, render
from edge_gateway.rest.pages import Page, Pages, fixed
from meshkit.rpc.tokens import TokenVerifier
from meshkit.telemetry.admin import Readiness, describe
from meshkit.telemetry.metrics import Metrics

EXPOSED_SECONDS: Final = 1.0
"""How long an exposition of the metrics is kept. Making one takes 50 ms of the loop, and the port asks for no token."""


def own_pages(
    services: Sequence[ServiceDescriptor],
    *,
    readiness: Readiness,
    metrics: Metrics,
    verifier: TokenVerifier | None,
    version: str,
    monotonic: Callable[[], float] = time.monotonic,
) -> Pages:
    """By path."""
    document = openapi_document(services, title="Beautymesh", version=version, descriptions=read_descriptions())

    def readyz() -> Page:
        body = json.dumps(describe(readiness)).encode()
        return Page(body, "application/json", status=200 if readiness.ready else 503)

    def jwks() -> Page:
        body = verifier.public_keys() if verifier is not None else b'{"keys": []}'
        return Page(body, "application/jwk-set+json", cache_control="public, max-age=60")

    expose = _kept(metrics.expose, monotonic)
    return {
        "/openapi.json": fixed(render(document), "application/json"),
        "/docs": fixed(docs_page(document), "text/html; charset=utf-8"),
        "/healthz": lambda: Page(b"ok\n", "text/plain; charset=utf-8"),
        "/readyz": readyz,
        "/metrics": lambda: Page(expose(), CONTENT_TYPE_LATEST),
        "/.well-known/jwks.json": jwks,
    }


def _kept(expose: Callable[[], bytes], monotonic: Callable[[], float]) -> Callable[[], bytes]:
    """The same, made at most once in `EXPOSED_SECONDS` however many ask."""
    body, until = b"", float("-inf")

    def kept() -> bytes:
        nonlocal body, until
        now = monotonic()
        if now >= until:
            body, until = expose(), now + EXPOSED_SECONDS
        return body

    return kept
