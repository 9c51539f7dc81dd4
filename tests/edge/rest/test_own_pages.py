from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from edge_gateway.rest.own_pages import own_pages
from edge_gateway.rest.pages import Pages
from meshkit.rpc.health import Health
from meshkit.rpc.tokens import TokenVerifier, ensure_keys
from meshkit.telemetry.metrics import Metrics


def pages(verifier: TokenVerifier | None, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> Pages:
    health = Health(services=(), checks={}, metrics=metrics)
    return own_pages([], readiness=health, metrics=metrics, verifier=verifier, version="1", monotonic=monotonic)


def test_keys_are_those_that_are_verified_with_and_public(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    private = json.loads(keys.signing_key_file.read_text())
    keys.jwks_file.write_text(json.dumps({"keys": [private]}))
    page = pages(TokenVerifier(keys.jwks_file, issuer="test"), Metrics())["/.well-known/jwks.json"]
    keys.jwks_file.unlink()  # no request reads it
    del private["d"]
    assert json.loads(page().body) == {"keys": [private]}


def test_process_without_a_verifier_has_no_keys() -> None:
    assert pages(None, Metrics())["/.well-known/jwks.json"]().body == b'{"keys": []}'


def test_metrics_are_made_once_a_second_however_many_ask() -> None:
    class Counted(Metrics):
        made = 0

        def expose(self) -> bytes:
            self.made += 1
            return b"%d" % self.made

    times = iter((0.0, 0.5, 0.999, 1.0, 1.5, 2.0))
    page = pages(None, Counted(), lambda: next(times))["/metrics"]
    assert [page().body for _ in range(6)] == [b"1", b"1", b"1", b"2", b"2", b"3"]
