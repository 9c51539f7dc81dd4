"""What `buf.validate` says about a field, as JSON Schema says it.

What JSON Schema cannot say (bounds of 64-bit numbers, durations and times, which are strings) stands in `x-minimum` and
`x-maximum` wherever it is tighter than the type; rules in CEL stand in `x-rules`, with the id and the message that a
refusal has. The services enforce all of it; this only tells.
"""
# ruff: noqa: ANN401 — rules are messages whose stubs say less than the code needs

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from buf.validate import validate_pb2

Schema = dict[str, Any]

_INTEGERS: Final[dict[int, tuple[str, int, int]]] = {
    FieldDescriptor.TYPE_INT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: ("sint32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: ("sfixed32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: ("fixed32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: ("sint64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: ("sfixed64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: ("uint64", 0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: ("fixed64", 0, 2**64 - 1),
}
"""The name of a type's rules, and what the type itself holds."""

_IN: Final = "in"
"""A field whose name is a keyword."""

_BITS_32: Final = 2**32


def rules_of(field: FieldDescriptor) -> Any:
    """The field's rules; empty where it has none."""
    return field.GetOptions().Extensions[validate_pb2.field]


def message_rules_of(message: Descriptor) -> Any:
    """The rules over several fields of a message; empty where it has none."""
    return message.GetOptions().Extensions[validate_pb2.message]


def is_required_oneof(oneof: OneofDescriptor) -> bool:
    """Whether one of its members must be set."""
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def scalar_schema(field: FieldDescriptor, rules: Any) -> Schema:
    """The schema of one value of a field that is no message; `rules` are the value's own."""
    if field.enum_type is not None:
        return _enum(field, rules)
    if field.type in _INTEGERS:
        return _integer(field, rules)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string(rules.string)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    return {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}


def _enum(field: FieldDescriptor, rules: Any) -> Schema:
    assert field.enum_type is not None
    numbers = set(getattr(rules.enum, _IN)) or {each.number for each in field.enum_type.values}
    numbers -= set(rules.enum.not_in)
    return {"type": "string", "enum": [each.name for each in field.enum_type.values if each.number in numbers]}


def _string(rules: Any) -> Schema:
    schema: Schema = {"type": "string"}
    shortest = rules.len or rules.min_len
    longest = rules.len or rules.max_len
    if shortest:
        schema["minLength"] = shortest
    if longest:
        schema["maxLength"] = longest
    if rules.pattern:
        schema["pattern"] = rules.pattern
    if rules.uuid:
        schema["format"] = "uuid"
    allowed = list(getattr(rules, _IN))
    if allowed:
        schema["enum"] = allowed
    return schema


def _integer(field: FieldDescriptor, rules: Any) -> Schema:
    name, low, high = _INTEGERS[field.type]
    own = getattr(rules, name)
    least, most = _bounds(own, low, high)
    if high < _BITS_32:
        excluded: Schema = {"not": {"enum": list(own.not_in)}} if own.not_in else {}
        kind = "int32" if low else "uint32"
        return {"type": "integer", "format": kind, "minimum": least, "maximum": most, **excluded}
    zero = "0|" if least <= 0 <= most and 0 not in own.not_in else ""
    sign = "" if least >= 0 else "-?"
    schema: Schema = {
        "type": "string",
        "format": "int64" if low else "uint64",
        "pattern": f"^({zero}{sign}[1-9][0-9]*)$",
        "maxLength": max(len(str(least)), len(str(most))),
    }
    if least > low:
        schema["x-minimum"] = str(least)
    if most < high:
        schema["x-maximum"] = str(most)
    return schema


def _bounds(rules: Any, low: int, high: int) -> tuple[int, int]:
    if rules.HasField("const"):
        return rules.const, rules.const
    least = {"gte": rules.gte, "gt": rules.gt + 1}.get(rules.WhichOneof("greater_than") or "", low)
    most = {"lte": rules.lte, "lt": rules.lt - 1}.get(rules.WhichOneof("less_than") or "", high)
    return least, most


def list_bounds(rules: Any) -> Schema:
    """What a repeated field adds to its schema."""
    schema: Schema = {}
    if rules.min_items:
        schema["minItems"] = rules.min_items
    if rules.max_items:
        schema["maxItems"] = rules.max_items
    if rules.unique:
        schema["uniqueItems"] = True
    return schema


def map_bounds(rules: Any) -> Schema:
    """What a map adds to its schema."""
    schema: Schema = {}
    if rules.min_pairs:
        schema["minProperties"] = rules.min_pairs
    if rules.max_pairs:
        schema["maxProperties"] = rules.max_pairs
    return schema


def time_bounds(rules: Any) -> Schema:
    """What a duration or a time adds to its schema."""
    schema: Schema = {}
    if rules.HasField("gte"):
        schema["x-minimum"] = rules.gte.ToJsonString()
    if rules.HasField("lte"):
        schema["x-maximum"] = rules.lte.ToJsonString()
    return schema


def custom_rules(rules: Any) -> Schema:
    """What the rules in CEL of a field or of a message add to its schema."""
    found = [{"id": each.id, "message": each.message} for each in rules.cel]
    return {"x-rules": found} if found else {}


def refuses_absence(field: FieldDescriptor) -> bool:
    """Whether a request without the field breaks a rule of it."""
    rules = rules_of(field)
    if rules.required:
        return True
    if field.has_presence or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
        return False
    if field.is_repeated:
        return bool(rules.repeated.min_items or rules.map.min_pairs)
    return _refuses_zero(field, rules)


def _refuses_zero(field: FieldDescriptor, rules: Any) -> bool:
    if field.enum_type is not None:
        allowed = list(getattr(rules.enum, _IN))
        return 0 in rules.enum.not_in or bool(allowed and 0 not in allowed)
    if field.type in _INTEGERS:
        name, low, high = _INTEGERS[field.type]
        own = getattr(rules, name)
        least, most = _bounds(own, low, high)
        return not least <= 0 <= most or 0 in own.not_in
    if field.type == FieldDescriptor.TYPE_STRING:
        schema = _string(rules.string)
        return "minLength" in schema or "enum" in schema or not re.search(schema.get("pattern", ""), "")
    return False
