"""Opaque page tokens: where a list goes on, and of which query.

A token carries a hash of the query, so that one made for another filter is refused instead of answering nonsense.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from google.protobuf.message import Message

from meshkit.core.errors import FieldViolation, InvalidPageToken

_NOT_QUERY = ("page_token", "page_size", "min_revision")


def page_token(request: Message, position: Sequence[str | int]) -> str:
    """The token for the page after `position`, in the list that `request` asks for."""
    return base64.urlsafe_b64encode(json.dumps([_query_hash(request), *position]).encode()).decode().rstrip("=")


def page_position(request: Message, token: str, *types: type[str | int]) -> tuple[Any, ...] | None:
    """The position in a token, its values of these types; None without a token.

    Raises:
        InvalidPageToken: the token is malformed or belongs to another query.
    """
    if not token:
        return None
    try:
        query, *position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError, binascii.Error):
        query, position = None, []
    well_formed = tuple(map(type, position)) == types and all(map(_can_be_queried, position))
    if query != _query_hash(request) or not well_formed:
        raise InvalidPageToken(
            "the page token is not one of this list", violations=(FieldViolation("page_token", "not one of this list"),)
        )
    return tuple(position)


def _can_be_queried(value: str | int) -> bool:
    """Whether PostgreSQL can take the value: a 64-bit number, or text that is UTF-8 without U+0000."""
    if isinstance(value, int):
        return 0 <= value < 2**63
    return "\0" not in value and value == value.encode(errors="ignore").decode()


def _query_hash(request: Message) -> str:
    query = type(request)()
    query.CopyFrom(request)
    for name in _NOT_QUERY:
        if name in query.DESCRIPTOR.fields_by_name:
            query.ClearField(name)
    data = query.DESCRIPTOR.full_name.encode() + query.SerializeToString(deterministic=True)
    return blake2b(data, digest_size=8).hexdigest()
