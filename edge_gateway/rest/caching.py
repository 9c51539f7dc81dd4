"""Who may keep an answer, and when "not modified" is answer enough."""

from __future__ import annotations

import hashlib
import re
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


def is_not_modified(if_none_match: bytes, etag: str) -> bool:
    """Whether the caller has the answer of this tag already. Weak comparison, as RFC 9110 wants it here."""
    if if_none_match.strip() == b"*":
        return True
    return etag.encode() in _TAGS.findall(if_none_match)
