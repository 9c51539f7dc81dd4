"""Who may keep an answer, and when "not modified" is answer enough."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from meshkit.rpc.options import Cache

ETAG_BYTES: Final = 12
"""Length of an entity tag that is made from a body: two different answers never share one by chance."""

_CACHE_HEADERS: Final[dict[Cache, tuple[tuple[bytes, bytes], ...]]] = {
    Cache.NONE: ((b"cache-control", b"private, no-store"),),
    Cache.PRIVATE: ((b"cache-control", b"private, no-cache"), (b"vary", b"authorization")),
    Cache.PUBLIC: ((b"cache-control", b"public, max-age=1"),),
}
"""A public answer is as late as the edge's own cache may be."""

_TAGS: Final = re.compile(rb'(?:W/)?"([^"]*)"')


def cache_headers(cache: Cache) -> tuple[tuple[bytes, bytes], ...]:
    """What an answer says to caches."""
    return _CACHE_HEADERS[cache]


def etag_of(body: bytes) -> str:
    """The entity tag of an answer that brings none of its own."""
    return hashlib.blake2b(body, digest_size=ETAG_BYTES).hexdigest()


def tagged(headers: list[tuple[bytes, bytes]], etag: str, asked: Mapping[bytes, bytes]) -> bool:
    """Adds the answer's tag to its headers. Returns whether the caller has that answer, so that 304 says enough."""
    headers.append((b"etag", f'"{etag}"'.encode()))
    known = asked.get(b"if-none-match")
    return known is not None and _names(known, etag)


def _names(if_none_match: bytes, etag: str) -> bool:
    """Weak comparison, as RFC 9110 wants it here."""
    return if_none_match.strip() == b"*" or etag.encode() in _TAGS.findall(if_none_match)
