"""What makes two requests the same: one short keyed hash per top-level field.

Hashes instead of the body: nothing personal is kept, and the first field that differs can still be named. The key is
the log's own random one, so equal values of two deployments do not look equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

_ENTRY = Struct(">I8s")  # field number, hash
_COMMAND_CONTEXT = "beautymesh.common.v1.CommandContext"


def fingerprint(request: Message, *, key: bytes) -> bytes:
    """The fingerprint of a request message: 12 bytes for each populated top-level field, in order of field number."""
    return b"".join(
        _ENTRY.pack(field.number, blake2b(_value_bytes(field, value), digest_size=8, key=key).digest())
        for field, value in request.ListFields()
        if not _accompanies(field)
    )


def first_difference(one: bytes, other: bytes) -> int | None:
    """The lowest number of a top-level field that differs between two fingerprints; None if they are equal."""
    if one == other:
        return None
    ours, theirs = dict(_ENTRY.iter_unpack(one)), dict(_ENTRY.iter_unpack(other))
    differing: int = min(number for number in ours.keys() | theirs.keys() if ours.get(number) != theirs.get(number))
    return differing


def _accompanies(field: FieldDescriptor) -> bool:
    """The id itself, and what may differ between repeats: a saga's fence rises when another process takes over."""
    if field.name == "context":
        return field.message_type is not None and field.message_type.full_name == _COMMAND_CONTEXT
    return field.name == "request_id"


def _value_bytes(field: FieldDescriptor, value: object) -> bytes:
    if not field.is_repeated:
        return _item_bytes(value)
    items: Iterable[object] = value  # type: ignore[assignment]  # a repeated field's value is iterable
    parts = [_item_bytes(item) for item in items]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _item_bytes(value: object) -> bytes:
    if hasattr(value, "SerializeToString"):
        data: bytes = value.SerializeToString(deterministic=True)
        return data
    return value if isinstance(value, bytes) else repr(value).encode()
