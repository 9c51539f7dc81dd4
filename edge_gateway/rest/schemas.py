"""How messages look in JSON Schema: one schema for each type, named by its full name without the platform's prefix.

A type that requests reach is closed (what is unknown is refused) and requires what its rules do; a type that only
answers reach is open (fields may be added) and requires what the codec always writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from edge_gateway.rest.rules import (
    Schema,
    custom_rules,
    is_required_oneof,
    list_bounds,
    map_bounds,
    message_rules_of,
    refuses_absence,
    rules_of,
    scalar_schema,
    time_bounds,
)
from edge_gateway.rest.spelling import reached
from meshkit.rpc.options import is_internal

PREFIX: Final = "beautymesh."

_DURATION: Final = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"

_WELL_KNOWN: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": _DURATION},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Value": {},
}
_BOUNDED: Final = {"google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp"}
"""Well-known types that rules bound, and what those rules are called."""

_WRAPPER_SUFFIX: Final = "Value"


class Schemas:
    """Collects the schemas of the types that a document mentions."""

    def __init__(
        self,
        requests: Iterable[Descriptor],
        *,
        outside: AbstractSet[str],
        filled: AbstractSet[str],
        descriptions: Mapping[str, str],
    ) -> None:
        """`requests` are the types whose bodies callers send; the other arguments are by full name.

        `outside` are fields that no body holds, because the path does; `filled` those that the edge fills in.
        """
        self._in_requests = {each.full_name for each in reached(requests)}
        self._outside = outside
        self._filled = filled
        self._descriptions = descriptions
        self._made: dict[str, Schema] = {}

    @property
    def components(self) -> dict[str, Schema]:
        """Every schema so far, by name."""
        return dict(sorted(self._made.items()))

    def of(self, message: Descriptor) -> Schema:
        """A reference to a type's schema; a well-known type's own."""
        if message.full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[message.full_name])
        if message.file.package == "google.protobuf" and message.name.endswith(_WRAPPER_SUFFIX):
            return scalar_schema(message.fields_by_name["value"], rules_of(message.fields_by_name["value"]))
        name = message.full_name.removeprefix(PREFIX)
        if name not in self._made:
            self._made[name] = {}  # before its fields, because types may contain themselves
            self._made[name].update(self._message(message))
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field, with what is said about it."""
        schema = {**self._field(field), **custom_rules(rules_of(field))}
        said = self._descriptions.get(field.full_name)
        return {**schema, "description": said} if said else schema

    def is_required(self, field: FieldDescriptor) -> bool:
        """Whether a request without the field is refused."""
        return field.full_name not in self._filled and refuses_absence(field)

    def _message(self, message: Descriptor) -> Schema:
        is_request = message.full_name in self._in_requests
        fields = [each for each in message.fields if each.full_name not in self._outside and not is_internal(each)]
        schema: Schema = {"type": "object", "properties": {each.json_name: self.field(each) for each in fields}}
        schema |= custom_rules(message_rules_of(message))
        is_required = self.is_required if is_request else _is_always_written
        required = [each.json_name for each in fields if is_required(each)]
        if required:
            schema["required"] = required
        if is_request:
            schema["additionalProperties"] = False
        alternatives = [_one_of(names, required=must) for names, must in _choices(message)]
        if alternatives:
            schema["allOf"] = alternatives
        said = self._descriptions.get(message.full_name)
        return {**schema, "description": said} if said else schema

    def _field(self, field: FieldDescriptor) -> Schema:
        rules = rules_of(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            schema: Schema = {"type": "object", **map_bounds(rules.map)}
            keys = scalar_schema(entry["key"], rules.map.keys)
            if keys != {"type": "string"}:
                schema["propertyNames"] = keys
            schema["additionalProperties"] = self._value(entry["value"], rules.map.values)
            return schema
        if field.is_repeated:
            return {"type": "array", "items": self._value(field, rules.repeated.items), **list_bounds(rules.repeated)}
        return self._value(field, rules)

    def _value(self, field: FieldDescriptor, rules: object) -> Schema:
        if field.message_type is None:
            return scalar_schema(field, rules)
        schema = self.of(field.message_type)
        kind = _BOUNDED.get(field.message_type.full_name)
        if kind is not None:
            schema.update(time_bounds(getattr(rules, kind)))
        return schema


def _is_always_written(field: FieldDescriptor) -> bool:
    return not field.has_presence


def _choices(message: Descriptor) -> list[tuple[list[str], bool]]:
    """The members of each oneof that is one, and whether one of them must be set."""
    return [
        ([field.json_name for field in oneof.fields], is_required_oneof(oneof))
        for oneof in message.oneofs
        if not (len(oneof.fields) == 1 and oneof.name.startswith("_"))  # an `optional` field's own
    ]


def _one_of(names: list[str], *, required: bool) -> Schema:
    alone: list[Schema] = [{"required": [name]} for name in names]
    if not required:
        alone.append({"not": {"anyOf": [{"required": [name]} for name in names]}})
    return {"oneOf": alone}
