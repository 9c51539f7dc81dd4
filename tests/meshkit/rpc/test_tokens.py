"""Which tokens are believed."""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from joserfc import jwk, jwt

from meshkit.core.clock import ManualClock
from meshkit.core.errors import Unauthenticated
from meshkit.core.principal import Principal
from meshkit.core.settings import SettingsFault
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
        self.seconds = 0.0
        self.verifier = TokenVerifier(
            self.keys.jwks_file, issuer="issuer", clock=self.clock, monotonic=lambda: self.seconds
        )

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
        ({"exp": 10**400}, "the token lacks exp"),
        ({"iat": -(10**400)}, "the token lacks iat"),
        ({"nbf": NOW + 61}, "the token is not valid yet"),
        ({"nbf": "soon"}, "the token lacks nbf"),
        ({"sub": None}, "the token lacks sub"),
        ({"sub": ""}, "the token lacks sub"),
        ({"client_id": None}, "the token lacks client_id"),
        ({"scope": ["a"]}, "the token's scope is malformed"),
        ({"channels": "web"}, "the token's channels are malformed"),
        ({"channels": []}, "the token's channels are empty"),
        ({"locations": []}, "the token's locations are empty"),
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


DEEP = b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"


def _part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _raw(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    return f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}.{signature}"


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
        _raw({"alg": "Ed25519", "crit": 5}, GOOD, "AAAA"),
        _raw({"alg": "Ed25519", "crit": [{}]}, GOOD, "AAAA"),
        _raw({"alg": "Ed25519", "crit": ["exp"], "exp": 5}, GOOD, "AAAA"),
        _raw({"alg": ["Ed25519"]}, GOOD, "AAAA"),
        _raw({"alg": {}}, GOOD, "AAAA"),
        _raw({"alg": "Ed25519", "kid": {}}, GOOD, "AAAA"),
        _part(DEEP) + f".{_part(DEEP)}.AAAA",
    ],
)
def test_unsigned_and_malformed_tokens_are_refused(desk: Desk, token: str) -> None:
    assert desk.refusal(token) == "the token is malformed or signed by an unknown key or algorithm"


def test_signed_claims_without_bottom_are_refused(desk: Desk) -> None:
    header = _part(json.dumps({"alg": "Ed25519", "kid": desk.key.kid}).encode())
    key: Any = desk.key.private_key
    signed = f"{header}.{_part(DEEP)}"
    token = f"{signed}.{_part(key.sign(signed.encode()))}"
    # Python 3.13 reads deeper than 3.11, and finds no issuer there.
    assert desk.refusal(token) in {
        "the token is malformed or signed by an unknown key or algorithm",
        "the token comes from another issuer",
    }


def test_token_that_is_valid_within_a_minute_is_believed(desk: Desk) -> None:
    assert desk.verifier.verify(desk.sign({**GOOD, "nbf": NOW + 60})).subject == "user:ada"


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


UNKNOWN = "the token is malformed or signed by an unknown key or algorithm"


class TestKeyFile:
    """The file changes while the process runs."""

    def replace(self, desk: Desk, content: object) -> None:
        """Puts another content there, and lets the second pass after which it is looked at."""
        text = content if isinstance(content, str) else json.dumps(content)
        fresh = desk.keys.jwks_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(desk.keys.jwks_file)
        desk.seconds += 1.0

    def test_rotated_keys_are_read_within_a_second_and_old_tokens_fall(self, desk: Desk, tmp_path: Path) -> None:
        old = desk.sign(GOOD)
        desk.verifier.verify(old)
        fresh = ensure_keys(tmp_path / "fresh")
        self.replace(desk, fresh.jwks_file.read_text())
        new_issuer = TokenIssuer.from_key_file(fresh.signing_key_file, issuer="issuer", clock=desk.clock)
        new = new_issuer.issue(subject="user:bob", client_id="webshop", scopes=frozenset())
        assert desk.verifier.verify(new).subject == "user:bob"
        assert desk.refusal(old) == UNKNOWN

    def test_set_without_keys_accepts_nothing(self, desk: Desk) -> None:
        token = desk.sign(GOOD)
        desk.verifier.verify(token)
        self.replace(desk, {"keys": []})
        assert desk.refusal(token) == UNKNOWN
        assert json.loads(desk.verifier.public_keys()) == {"keys": []}

    @pytest.mark.parametrize(
        "content",
        ["", "{", "[]", "5", "null", "{}", "[" * 5000, {"keys": 5}, {"keys": [5]}, {"keys": {"a": 1}},
         {"keys": [{"kty": "OKP", "crv": "Ed25519"}]}, {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": 5}]},
         {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}],
    )  # fmt: skip
    def test_malformed_file_leaves_the_keys_good_and_is_logged_once(self, desk: Desk, content: object) -> None:
        token = desk.sign(GOOD)
        with structlog.testing.capture_logs() as lines:
            for _ in range(2):
                self.replace(desk, content)
                for _ in range(3):
                    desk.verifier.public_keys()
                    assert desk.verifier.verify(token).subject == "user:ada"
                    desk.seconds += 1.0
        assert [line["log_level"] for line in lines] == ["error"] * 2
        self.replace(desk, {"keys": []})
        assert desk.refusal(token) == UNKNOWN

    def test_file_that_is_gone_leaves_the_keys_good_and_is_logged_once(self, desk: Desk) -> None:
        desk.keys.jwks_file.unlink()
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                desk.seconds += 1.0
                assert desk.verifier.verify(desk.sign(GOOD)).subject == "user:ada"
        assert [line["log_level"] for line in lines] == ["error"]

    def test_wall_clock_that_is_set_back_stops_no_look(self, desk: Desk) -> None:
        token = desk.sign(GOOD)
        desk.verifier.verify(token)
        desk.clock.advance(timedelta(seconds=-30))
        self.replace(desk, {"keys": []})
        assert desk.refusal(token) == UNKNOWN

    def test_private_and_foreign_members_are_not_published(self, desk: Desk) -> None:
        private = json.loads(desk.keys.signing_key_file.read_text())
        secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
        self.replace(desk, {"keys": [{**private, "note": "secret"}, secret, {"kty": "ML-DSA"}]})
        published = json.loads(desk.verifier.public_keys())["keys"]
        wanted = {name: private[name] for name in ("kty", "crv", "x", "kid", "alg", "use")}
        assert published == [wanted]
        assert desk.verifier.verify(desk.sign(GOOD)).subject == "user:ada"

    @pytest.mark.parametrize("content", ["{", '{"keys": 5}'])
    def test_malformed_file_stops_the_start(self, desk: Desk, content: str) -> None:
        desk.keys.jwks_file.write_text(content)
        with pytest.raises(SettingsFault, match="is no set of keys"):
            TokenVerifier(desk.keys.jwks_file, issuer="issuer")
