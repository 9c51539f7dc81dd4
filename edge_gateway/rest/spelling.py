"""How a refusal that names fields as the contract does is spelled for a caller who wrote JSON.

Only what a handler raises is turned: what the edge itself says of a request repeats the caller's own keys.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import Descriptor

from meshkit.core.errors import FieldViolation, Kind, MeshError

_QUOTED_OR_SNAKE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|_([a-z0-9])')
_SNAKE_WORD: Final = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b")
_OF_FIELDS: Final = frozenset({Kind.INVALID, Kind.REUSED_ID})
"""The kinds whose messages are about fields; those of others are about what the fields hold."""


def json_path(path: str) -> str:
    """A path of proto field names as JSON spells it (`lines[3].unit_price` → `lines[3].unitPrice`); keys stay."""
    if "_" not in path:
        return path
    return _QUOTED_OR_SNAKE.sub(lambda found: found[1].upper() if found[1] else found[0], path)


class Spelling:
    """Spells the refusals of one RPC."""

    __slots__ = ("_names",)

    def __init__(self, request: Descriptor) -> None:
        """In texts only the names of fields of the request are turned: other words are values, or the services' own."""
        self._names = {
            field.name: field.json_name
            for message in reached([request])
            for field in message.fields
            if field.name != field.json_name
        }

    def of(self, error: MeshError) -> MeshError:
        """The same error with fields as JSON spells them, in violations, message and `metadata.field`."""
        if error.kind not in _OF_FIELDS:
            return error
        spelled = copy.copy(error)  # one error may be the answer to several callers
        spelled.message = self._text(error.message)
        spelled.violations = tuple(
            FieldViolation(json_path(each.field), self._text(each.description)) for each in error.violations
        )
        if "field" in error.metadata:
            spelled.metadata = {**error.metadata, "field": json_path(error.metadata["field"])}
        return spelled

    def _text(self, text: str) -> str:
        return _SNAKE_WORD.sub(lambda found: self._names.get(found[0], found[0]), text)


def reached(roots: Iterable[Descriptor]) -> list[Descriptor]:
    """All message types that these contain, themselves included."""
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [each.message_type for each in message.fields if each.message_type is not None]
    return list(found.values())
