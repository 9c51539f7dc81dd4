"""How a caller proves who it is: signed service tokens (JWT, Ed25519) and the keys behind them.

A token's `act` claim names the end principal on whose behalf a mesh service calls; then that principal's scopes count,
not the service's. Only subjects `service:*` may carry it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc import jwk, jwt
from joserfc.errors import BadSignatureError

from meshkit.core.clock import Clock, SystemClock
from meshkit.core.errors import Unauthenticated
from meshkit.core.ids import new_id
from meshkit.core.principal import SERVICE_PREFIX, Principal
from meshkit.rpc.key_file import KeyFile

ALGORITHM: Final = "Ed25519"
"""The one signature that is accepted (RFC 9864). A list of one leaves nothing to confuse, `none` least of all."""

AUDIENCE: Final = "beautymesh"

SERVICE_TOKEN_SECONDS: Final = 300
"""Life of a token that one service presents to another."""

RENEW_SECONDS: Final = 60
"""How long before its end a service token is replaced, so that none expires on the way."""

TOKEN_SECONDS_MAX: Final = 366 * 24 * 3600
"""Longest life of any token that is accepted: a year, for a partner's machine client."""

SERVICE_TOKEN_SECONDS_MAX: Final = 900
"""Longest life of a token with `act`: it speaks for others, so a stolen one must die soon."""

CLOCK_SKEW_SECONDS: Final = 60
"""How far in the future `iat` and `nbf` may lie: clocks differ."""

CACHED_TOKENS_MAX: Final = 10_000
"""Bound of either cache: verified tokens, and service tokens by principal. About 1 KiB each."""

TOKEN_CHARACTERS_MAX: Final = 16_384

_SECONDS_MAX: Final = 253_402_300_800
"""The end of the year 9999: no time of a token lies beyond."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the private key (JWK, mode 0600) and the public keys (JWKS) lie."""

    signing_key_file: Path
    jwks_file: Path


def ensure_keys(folder: Path) -> Keys:
    """Makes a signing key and its public half in `folder` unless they are there; returns where they lie.

    Safe to repeat: an existing key is kept, a missing JWKS is written anew from it.
    """
    keys = Keys(folder / "signing-key.json", folder / "jwks.json")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL decides between two processes that start at once; the loser uses the winner's key.
        descriptor = os.open(keys.signing_key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        key = jwk.OKPKey.generate_key("Ed25519", {"alg": ALGORITHM, "use": "sig"}, private=True, auto_kid=True)
        with os.fdopen(descriptor, "w") as file:
            json.dump(key.as_dict(private=True), file)
    if not keys.jwks_file.exists():
        key = _read_key(keys.signing_key_file)
        unfinished = keys.jwks_file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        unfinished.replace(keys.jwks_file)
    return keys


class TokenIssuer:
    """Signs tokens."""

    def __init__(self, key: jwk.OKPKey, *, issuer: str, clock: Clock | None = None) -> None:
        """`issuer` becomes `iss`; verifiers accept only the one that they are told."""
        self._key = key
        self._issuer = issuer
        self._clock = clock or SystemClock()
        self._header = {"alg": ALGORITHM, "kid": key.kid}

    @classmethod
    def from_key_file(cls, path: Path, *, issuer: str, clock: Clock | None = None) -> TokenIssuer:
        """Reads the private key that `ensure_keys` made."""
        return cls(_read_key(path), issuer=issuer, clock=clock)

    def issue(
        self,
        *,
        subject: str,
        client_id: str,
        scopes: frozenset[str],
        lifetime_seconds: int = SERVICE_TOKEN_SECONDS,
        act: Principal | None = None,
        channels: frozenset[str] = frozenset(),
        locations: frozenset[str] = frozenset(),
    ) -> str:
        """A signed token, valid from now on. `act` is whom the subject speaks for."""
        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": client_id,
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "exp": now + lifetime_seconds,
            "jti": new_id(),
        }
        if channels:
            claims["channels"] = sorted(channels)
        if locations:
            claims["locations"] = sorted(locations)
        if act is not None:
            claims["act"] = {
                "sub": act.subject,
                "client_id": act.client_id,
                "scopes": sorted(act.scopes),
                "channels": sorted(act.channels),
                "locations": sorted(act.locations),
            }
        return jwt.encode(self._header, claims, self._key, algorithms=[ALGORITHM])


class TokenVerifier:
    """Turns a token into the principal it proves, or refuses it.

    Verified tokens are remembered by hash until they expire: a signature costs about 80 µs, a look-up 1 µs. The memory
    is dropped when the keys change.
    """

    def __init__(
        self,
        jwks_file: Path,
        *,
        issuer: str,
        audience: str = AUDIENCE,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the keys at once, so that a wrong path stops the start. `monotonic` says when to look at them again."""
        self._key_file = KeyFile(jwks_file, monotonic=monotonic)
        self._issuer = issuer
        self._audience = audience
        self._clock = clock or SystemClock()
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def public_keys(self) -> bytes:
        """The keys that count now, as a JWKS."""
        self._look_at_keys()
        return self._key_file.published

    def verify(self, token: str) -> Principal:
        """Who presents this token.

        Raises:
            Unauthenticated: with a message that is safe to show and says what is wrong.
        """
        self._look_at_keys()
        now = self._clock.now().timestamp()
        fingerprint = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(fingerprint)
        if known is not None:
            principal, expire_time = known
            if now < expire_time:
                return principal
            del self._verified[fingerprint]
            raise Unauthenticated("the token has expired")
        principal, expire_time = self._check(token, now)
        self._verified[fingerprint] = (principal, expire_time)
        if len(self._verified) > CACHED_TOKENS_MAX:
            self._verified.popitem(last=False)
        return principal

    def _look_at_keys(self) -> None:
        if self._key_file.look():
            self._verified.clear()

    def _check(self, token: str, now: float) -> tuple[Principal, float]:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthenticated("the token is malformed")
        try:
            claims = jwt.decode(token, self._key_file.keys, algorithms=[ALGORITHM]).claims
        except BadSignatureError as error:
            raise Unauthenticated("the token's signature is wrong") from error
        except Exception as error:
            # A stranger wrote what is parsed here, and joserfc lets through whatever that leads to: TypeError for a
            # `crit` that is no list, RecursionError for a deep header, ValueError for bad base64.
            raise Unauthenticated("the token is malformed or signed by an unknown key or algorithm") from error
        return _principal(claims, now, issuer=self._issuer, audience=self._audience)


class ServiceTokens:
    """The tokens that one service presents to others: one per end principal, reused until shortly before its end."""

    def __init__(
        self, issuer: TokenIssuer, *, service: str, scopes: frozenset[str] = frozenset(), clock: Clock | None = None
    ) -> None:
        """`service` is the bare name (`inventory`); `scopes` are its own, used when it acts for nobody."""
        self._issuer = issuer
        self._subject = SERVICE_PREFIX + service
        self._scopes = scopes
        self._clock = clock or SystemClock()
        self._tokens: OrderedDict[Principal | None, tuple[str, float]] = OrderedDict()

    def token_for(self, principal: Principal | None) -> str:
        """A token that speaks for `principal`, or for the service itself; good for at least `RENEW_SECONDS`."""
        now = self._clock.now().timestamp()
        known = self._tokens.get(principal)
        if known is not None and now < known[1]:
            return known[0]
        token = self._issuer.issue(subject=self._subject, client_id=self._subject, scopes=self._scopes, act=principal)
        self._tokens[principal] = (token, now + SERVICE_TOKEN_SECONDS - RENEW_SECONDS)
        self._tokens.move_to_end(principal)
        if len(self._tokens) > CACHED_TOKENS_MAX:
            self._tokens.popitem(last=False)
        return token


def _principal(claims: Mapping[str, Any], now: float, *, issuer: str, audience: str) -> tuple[Principal, float]:
    """The claims' principal and the time it ends.

    Raises:
        Unauthenticated: if a claim is missing, of the wrong type or out of bounds.
    """
    if claims.get("iss") != issuer:
        raise Unauthenticated("the token comes from another issuer")
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise Unauthenticated("the token is meant for another audience")
    act = claims.get("act")
    expires = _expiry(claims, now, life_seconds_max=TOKEN_SECONDS_MAX if act is None else SERVICE_TOKEN_SECONDS_MAX)
    subject = _text(claims, "sub")
    if act is not None:
        return _acted_for(act, subject), expires
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise Unauthenticated("the token's scope is malformed")
    principal = Principal(
        subject=subject,
        client_id=_text(claims, "client_id"),
        scopes=frozenset(scope.split()),
        channels=_limit(claims, "channels"),
        locations=_limit(claims, "locations"),
    )
    return principal, expires


def _acted_for(act: object, service: str) -> Principal:
    """Whom a service speaks for."""
    if not service.startswith(SERVICE_PREFIX):
        raise Unauthenticated("only a service may act for another")
    if not isinstance(act, dict):
        raise Unauthenticated("the token's act is malformed")
    return Principal(
        subject=_text(act, "sub"),
        client_id=_text(act, "client_id"),
        scopes=_texts(act, "scopes"),
        channels=_texts(act, "channels"),
        locations=_texts(act, "locations"),
        via=service,
    )


def _expiry(claims: Mapping[str, Any], now: float, *, life_seconds_max: int) -> float:
    """When the token ends, if this is within its life."""
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    if expires <= now:
        raise Unauthenticated("the token has expired")
    if issued > now + CLOCK_SKEW_SECONDS:
        raise Unauthenticated("the token was issued in the future")
    if "nbf" in claims and _seconds(claims, "nbf") > now + CLOCK_SKEW_SECONDS:
        raise Unauthenticated("the token is not valid yet")
    if expires - issued > life_seconds_max:
        raise Unauthenticated("the token lives longer than is allowed")
    return expires


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # JSON as Python reads it knows NaN, which is neither before nor after any time, and integers of any length.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _SECONDS_MAX:
        raise Unauthenticated(f"the token lacks {name}")
    return float(value)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise Unauthenticated(f"the token lacks {name}")
    return value


def _limit(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """What a token is limited to; empty: nothing limits it.

    A claim that is there and empty looks like a limit and would be none, so it is refused. In `act`, which only
    services write, an empty list means that there is no limit.
    """
    found = _texts(claims, name)
    if not found and name in claims:
        raise Unauthenticated(f"the token's {name} are empty")
    return found


def _texts(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Unauthenticated(f"the token's {name} are malformed")
    return frozenset(value)


def _read_key(path: Path) -> jwk.OKPKey:
    return jwk.OKPKey.import_key(json.loads(path.read_text()))
