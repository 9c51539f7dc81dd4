"""Hypothesis strategies for messages of any type, and the types that requests and answers of the mesh have."""
# ruff: noqa: ANN401 — messages are of any type: their descriptors say which

from __future__ import annotations

import math
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from beautymesh.edge.v1 import service_pb2 as edge_pb2
from beautymesh.inventory.v1 import inventory_pb2
from beautymesh.profile.v1 import service_pb2 as profile_pb2
from beautymesh.promo.v1 import promo_pb2
from meshkit.rpc.options import is_internal

SERVICES: Final = tuple(
    service
    for file in (inventory_pb2, promo_pb2, profile_pb2, edge_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
MESSAGES: Final[list[Any]] = [
    GetMessageClass(each)
    for service in SERVICES
    for method in service.methods
    for each in (method.input_type, method.output_type)
]

DEPTH_MAX: Final = 4

_INTEGERS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_FLOAT_MAX: Final = float.fromhex("0x1.fffffep+127")
_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)


def messages_of(message: Descriptor, depth: int = 0) -> st.SearchStrategy[Any]:
    """Messages of a type, with any of the fields that exist for callers."""
    well_known = _WELL_KNOWN.get(message.full_name)
    if well_known is not None:
        return well_known(GetMessageClass(message))
    fields = [each for each in message.fields if _can_be_drawn(each, depth)]
    return st.builds(
        _made,
        st.just(GetMessageClass(message)),
        st.fixed_dictionaries({}, optional={each.name: _field(each, depth) for each in fields}),
    )


def _can_be_drawn(field: FieldDescriptor, depth: int) -> bool:
    return not is_internal(field) and (field.message_type is None or depth < DEPTH_MAX)


def _made(message_class: Any, fields: dict[str, Any]) -> Any:
    """A message; of a oneof's members the last that is given."""
    message = message_class()
    for name, value in fields.items():
        field = message_class.DESCRIPTOR.fields_by_name[name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, item in value.items():
                if field.message_type.fields_by_name["value"].message_type is not None:
                    getattr(message, name)[key].CopyFrom(item)
                else:
                    getattr(message, name)[key] = item
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif field.message_type is not None:
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return st.dictionaries(_value(entry["key"], depth), _value(entry["value"], depth), max_size=2)
    if field.is_repeated:
        return st.lists(_value(field, depth), max_size=2)
    return _value(field, depth)


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages_of(field.message_type, depth + 1)
    if field.enum_type is not None:
        return st.sampled_from([each.number for each in field.enum_type.values])
    if field.cpp_type in _INTEGERS:
        return st.integers(*_INTEGERS[field.cpp_type])
    return _SCALARS[field.type]


_SCALARS: Final[dict[int, st.SearchStrategy[Any]]] = {
    # Without the largest, which json_format writes as 3.4028235e+38 and then takes for too large.
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False).filter(lambda each: abs(each) != _FLOAT_MAX),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_STRING: _TEXT,
}


def _timestamps(message_class: Any) -> st.SearchStrategy[Any]:
    seconds = st.integers(-62_135_596_800, 253_402_300_799)
    return st.builds(message_class, seconds=seconds, nanos=st.integers(0, 999_999_999))


def _durations(message_class: Any) -> st.SearchStrategy[Any]:
    def signed(seconds: int, nanos: int) -> Any:
        return message_class(seconds=seconds, nanos=int(math.copysign(nanos, seconds)))

    return st.builds(signed, st.integers(-315_576_000_000 + 1, 315_576_000_000 - 1), st.integers(0, 999_999_999))


def _masks(message_class: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        message_class, paths=st.lists(st.from_regex(r"[a-z]{1,3}(_[a-z]{1,3})?", fullmatch=True), max_size=2)
    )


def _structs(message_class: Any) -> st.SearchStrategy[Any]:
    def made(value: dict[str, Any]) -> Any:
        message = message_class()
        message.update(value)
        return message

    return st.dictionaries(_TEXT, _JSON, max_size=2).map(made)


def _lists(message_class: Any) -> st.SearchStrategy[Any]:
    def made(value: list[Any]) -> Any:
        message = message_class()
        message.extend(value)
        return message

    return st.lists(_JSON, max_size=2).map(made)


def _values(message_class: Any) -> st.SearchStrategy[Any]:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return (
        st.builds(message_class, number_value=numbers)
        | st.builds(message_class, string_value=_TEXT)
        | st.builds(message_class, bool_value=st.booleans())
        | st.builds(message_class, null_value=st.just(0))
    )


_WELL_KNOWN: Final = {
    "google.protobuf.Timestamp": _timestamps,
    "google.protobuf.Duration": _durations,
    "google.protobuf.FieldMask": _masks,
    "google.protobuf.Struct": _structs,
    "google.protobuf.ListValue": _lists,
    "google.protobuf.Value": _values,
}
