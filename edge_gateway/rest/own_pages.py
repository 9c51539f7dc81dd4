"""What the edge's HTTP port shows of the process itself, without a token."""

from __future__ import annotations

import json
from collections.abc import Sequence

from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CONTENT_TYPE_LATEST

from edge_gateway.rest.descriptions import read_descriptions
from edge_gateway.rest.docs_page import docs_page
from edge_gateway.rest.openapi import openapi_document, render
from edge_gateway.rest.pages import Page, Pages, fixed
from meshkit.rpc.tokens import TokenVerifier
from meshkit.telemetry.admin import Readiness, describe
from meshkit.telemetry.metrics import Metrics


def own_pages(
    services: Sequence[ServiceDescriptor],
    *,
    readiness: Readiness,
    metrics: Metrics,
    verifier: TokenVerifier | None,
    version: str,
) -> Pages:
    """By path."""
    document = openapi_document(services, title="Beautymesh", version=version, descriptions=read_descriptions())

    def readyz() -> Page:
        body = json.dumps(describe(readiness)).encode()
        return Page(body, "application/json", status=200 if readiness.ready else 503)

    def jwks() -> Page:
        body = verifier.public_keys() if verifier is not None else b'{"keys": []}'
        return Page(body, "application/jwk-set+json", cache_control="public, max-age=60")

    return {
        "/openapi.json": fixed(render(document), "application/json"),
        "/docs": fixed(docs_page(document), "text/html; charset=utf-8"),
        "/healthz": lambda: Page(b"ok\n", "text/plain; charset=utf-8"),
        "/readyz": readyz,
        "/metrics": lambda: Page(metrics.expose(), CONTENT_TYPE_LATEST),
        "/.well-known/jwks.json": jwks,
    }
