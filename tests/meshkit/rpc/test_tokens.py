"""Which tokens are believed."""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt

from meshkit.core.clock import ManualClock
from meshkit.core.errors import Unauthenticated
from meshkit.core.principal import Principal
from meshkit.rpc.tokens import ServiceTokens, TokenIssuer, TokenVerifier, ensure_keys

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = int(START.timestamp())
GOOD: dict[str, Any] = {
    "iss": "issuer",
    "aud": "beautymesh",
    "sub": "user:ada",
    "client_id": "webshop",
    "scope": "a b",
    "iat": NOW,
    "exp": NOW + 300,
}
ACT: dict[str, Any] = {"sub": "user:ada", "client_id": "webshop", "scopes": ["a"], "channels": ["web"], "locations": []}


class Desk:
    """Keys, a clock that stands still, and both ends of a token."""

    def __init__(self, folder: Path) -> None:
        self.keys = ensure_keys(folder)
        self.clock = ManualClock(START)
        self.key = jwk.OKPKey.import_key(json.loads(self.keys.signing_key_file.read_text()))
        self.issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer="issuer", clock=self.clock)
        self.verifier = TokenVerifier.from_jwks_file(self.keys.jwks_file, issuer="issuer", clock=self.clock)

    def sign(self, claims: dict[str, Any], key: jwk.OKPKey | None = None) -> str:
        used = key or self.key
        return jwt.encode({"alg": "Ed25519", "kid": self.key.kid}, claims, used, algorithms=["Ed25519"])

    def refusal(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as raised:
            self.verifier.verify(token)
        return raised.value.message


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_issued_token_proves_its_principal(desk: Desk) -> None:
    token = desk.issuer.issue(
        subject="user:ada",
        client_id="webshop",
        scopes=frozenset({"a", "b"}),
        channels=frozenset({"web"}),
        locations=frozenset({"berlin"}),
    )
    assert desk.verifier.verify(token) == Principal(
        "user:ada", "webshop", frozenset({"a", "b"}), frozenset({"web"}), frozenset({"berlin"})
    )


def test_service_token_proves_whom_it_acts_for(desk: Desk) -> None:
    ada = Principal("user:ada", "webshop", frozenset({"a"}), frozenset({"web"}), frozenset())
    token = ServiceTokens(desk.issuer, service="edge", scopes=frozenset({"b"}), clock=desk.clock).token_for(ada)
    assert desk.verifier.verify(token) == Principal(
        "user:ada", "webshop", frozenset({"a"}), frozenset({"web"}), frozenset(), via="service:edge"
    )


def test_service_token_for_nobody_has_the_services_own_scopes(desk: Desk) -> None:
    token = ServiceTokens(desk.issuer, service="edge", scopes=frozenset({"b"}), clock=desk.clock).token_for(None)
    assert desk.verifier.verify(token) == Principal("service:edge", "service:edge", frozenset({"b"}))


def test_service_token_is_reused_until_a_minute_before_its_end(desk: Desk) -> None:
    tokens = ServiceTokens(desk.issuer, service="edge", clock=desk.clock)
    first = tokens.token_for(None)
    desk.clock.advance(timedelta(seconds=239))
    assert tokens.token_for(None) == first
    desk.clock.advance(timedelta(seconds=1))
    assert tokens.token_for(None) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exp": None}, "the token lacks exp"),
        ({"exp": "soon"}, "the token lacks exp"),
        ({"exp": True}, "the token lacks exp"),
        ({"iat": None}, "the token lacks iat"),
        ({"iss": "other"}, "the token comes from another issuer"),
        ({"aud": "other"}, "the token is meant for another audience"),
        ({"aud": None}, "the token is meant for another audience"),
        ({"exp": NOW}, "the token has expired"),
        ({"iat": NOW + 61}, "the token was issued in the future"),
        ({"exp": NOW + 367 * 86400}, "the token lives longer than is allowed"),
        ({"exp": float("nan")}, "the token lacks exp"),
        ({"sub": None}, "the token lacks sub"),
        ({"sub": ""}, "the token lacks sub"),
        ({"client_id": None}, "the token lacks client_id"),
        ({"scope": ["a"]}, "the token's scope is malformed"),
        ({"channels": "web"}, "the token's channels are malformed"),
        ({"act": ACT}, "only a service may act for another"),
        ({"act": ACT, "sub": "service:edge", "exp": NOW + 901}, "the token lives longer than is allowed"),
        ({"act": "ada", "sub": "service:edge"}, "the token's act is malformed"),
        ({"act": {**ACT, "scopes": "a"}, "sub": "service:edge"}, "the token's scopes are malformed"),
    ],
)
def test_wrong_claims_are_refused(desk: Desk, changes: dict[str, Any], message: str) -> None:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    assert desk.refusal(desk.sign(claims)) == message


def test_token_is_refused_from_the_second_it_expires_also_when_cached(desk: Desk) -> None:
    token = desk.sign(GOOD)
    desk.clock.advance(timedelta(seconds=299))
    assert desk.verifier.verify(token).subject == "user:ada"
    desk.clock.advance(timedelta(seconds=1))
    assert desk.refusal(token) == "the token has expired"


def test_wrong_signature_is_refused(desk: Desk) -> None:
    stranger = jwk.OKPKey.generate_key("Ed25519", private=True)
    assert desk.refusal(desk.sign(GOOD, stranger)) == "the token's signature is wrong"


def _raw(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{signature}"


@pytest.mark.parametrize(
    "token",
    [
        _raw({"alg": "none"}, GOOD),
        _raw({"alg": "None"}, GOOD),
        _raw({"alg": "EdDSA"}, GOOD, "AAAA"),
        _raw({}, GOOD),
        "",
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.ü.ß",
        "\udcff.x.y",
        "null.null.null",
        "bnVsbA.bnVsbA.bnVsbA",
        "W10.W10.W10",
        "." * 2000,
    ],
)
def test_unsigned_and_malformed_tokens_are_refused(desk: Desk, token: str) -> None:
    assert desk.refusal(token) == "the token is malformed or signed by an unknown key or algorithm"


def test_public_key_does_not_serve_as_a_shared_secret(desk: Desk) -> None:
    secret = jwk.OctKey.import_key(desk.keys.jwks_file.read_bytes())
    token = jwt.encode({"alg": "HS256"}, GOOD, secret, algorithms=["HS256"])
    assert desk.refusal(token) == "the token is malformed or signed by an unknown key or algorithm"


def test_token_of_absurd_length_is_refused(desk: Desk) -> None:
    assert desk.refusal("a" * 20_000) == "the token is malformed"


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    before = keys.signing_key_file.read_bytes(), keys.jwks_file.read_bytes()
    assert ensure_keys(tmp_path) == keys
    assert (keys.signing_key_file.read_bytes(), keys.jwks_file.read_bytes()) == before
    assert stat.S_IMODE(keys.signing_key_file.stat().st_mode) == 0o600
    assert "d" not in json.loads(before[1])["keys"][0]


def test_rotated_keys_are_read_within_a_second_and_old_tokens_fall(desk: Desk, tmp_path: Path) -> None:
    old = desk.issuer.issue(subject="user:ada", client_id="webshop", scopes=frozenset())
    desk.verifier.verify(old)
    fresh = ensure_keys(tmp_path / "fresh")
    os.replace(fresh.jwks_file, desk.keys.jwks_file)  # noqa: PTH105 — atomic, as a rotation is
    desk.clock.advance(timedelta(seconds=1))
    new_issuer = TokenIssuer.from_key_file(fresh.signing_key_file, issuer="issuer", clock=desk.clock)
    new = new_issuer.issue(subject="user:bob", client_id="webshop", scopes=frozenset())
    assert desk.verifier.verify(new).subject == "user:bob"
    assert desk.refusal(old) == "the token is malformed or signed by an unknown key or algorithm"


def test_half_written_key_file_leaves_the_known_keys_good(desk: Desk) -> None:
    token = desk.sign(GOOD)
    desk.keys.jwks_file.write_text("{")
    desk.clock.advance(timedelta(seconds=2))
    assert desk.verifier.verify(token).subject == "user:ada"
