"""How Google's well-known types look in JSON: a time, a duration, a mask or any JSON value instead of an object.

Source: the ProtoJSON specification (protobuf.dev/programming-guides/json).
"""
# ruff: noqa: ANN401 — values of JSON and of fields are of any type

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.wrappers_pb2 import (
    BoolValue,
    BytesValue,
    DoubleValue,
    FloatValue,
    Int32Value,
    Int64Value,
    StringValue,
    UInt32Value,
    UInt64Value,
)

from edge_gateway.rest.json_text import Misfit, not_an_object, shown
from edge_gateway.rest.scalars import parse_string, quote, scalar_of, write_double

Merge = Callable[[Any, Any, int], None]

DEPTH_MAX: Final = 30
"""How deep values may be nested. Parsers of Protobuf stop at 100 messages, and each level of a Struct makes three."""

DURATION_SECONDS_MAX: Final = 315_576_000_000

_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_DURATION: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s").fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 — only its text is used
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class WellKnown:
    """`merge(message, value, depth)` sets the message from a JSON value and raises `Misfit`; `write` gives JSON.

    `merge_text` takes a path's or query's text; None where neither can hold the type.
    """

    merge: Merge
    write: Callable[[Any], str]
    merge_text: Merge | None = None


def _merge_timestamp(message: Any, value: Any, _depth: int) -> None:
    found = _TIME(value) if isinstance(value, str) else None
    if found is None:
        raise Misfit("must be a time of RFC 3339, such as 2026-03-01T12:00:00Z")
    day, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        seconds = (moment - _EPOCH) // _SECOND
    except (ValueError, OverflowError):
        raise Misfit("is no time that exists") from None
    if not -62_135_596_800 <= seconds <= 253_402_300_799:  # noqa: PLR2004 — the years 1 to 9999, as the type says
        raise Misfit("is no time that exists")
    message.seconds = seconds
    message.nanos = _nanos(fraction)
    message.SetInParent()


def _write_timestamp(message: Any) -> str:
    moment = _NAIVE_EPOCH + timedelta(seconds=message.seconds)
    return f'"{moment.isoformat()}{_fraction(message.nanos)}Z"'


def _merge_duration(message: Any, value: Any, _depth: int) -> None:
    found = _DURATION(value) if isinstance(value, str) else None
    if found is None:
        raise Misfit("must be a duration in seconds, such as 1.5s")
    sign, seconds, fraction = found.groups()
    whole, nanos = int(seconds), _nanos(fraction)
    if whole + (nanos > 0) > DURATION_SECONDS_MAX:
        raise Misfit("is out of range")
    message.seconds = -whole if sign else whole
    message.nanos = -nanos if sign else nanos
    message.SetInParent()


def _write_duration(message: Any) -> str:
    sign = "-" if message.seconds < 0 or message.nanos < 0 else ""
    return f'"{sign}{abs(message.seconds)}{_fraction(abs(message.nanos))}s"'


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanos: int) -> str:
    """0, 3, 6 or 9 digits, as canonical JSON has them."""
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    if digits.endswith("000000"):
        return f".{digits[:3]}"
    return f".{digits[:6]}" if digits.endswith("000") else f".{digits}"


_CAMEL_PATH: Final = re.compile(r"[a-z][A-Za-z0-9]*(?:\.[a-z][A-Za-z0-9]*)*").fullmatch
_SNAKE_PATH: Final = re.compile(r"[a-z0-9]+(?:_[a-z][a-z0-9]*)*(?:\.[a-z0-9]+(?:_[a-z][a-z0-9]*)*)*").fullmatch


def _merge_mask(message: Any, value: Any, _depth: int) -> None:
    if not isinstance(value, str):
        raise Misfit("must be a string of paths, separated by commas")
    paths = value.split(",") if value else []
    for path in paths:
        if not _CAMEL_PATH(path):
            raise Misfit(f"holds {shown(path)!r}, which is no path in lowerCamelCase")
    del message.paths[:]
    message.paths.extend(re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", path) for path in paths)
    message.SetInParent()


def _write_mask(message: Any) -> str:
    for path in message.paths:
        if not _SNAKE_PATH(path):
            raise ValueError(f"a field mask holds {path!r}, which JSON cannot spell")
    return quote(",".join(re.sub("_([a-z])", lambda found: found[1].upper(), path) for path in message.paths))


def _merge_struct(message: Any, value: Any, depth: int) -> None:
    if type(value) is not dict:
        raise not_an_object(value)
    message.SetInParent()
    message.fields.clear()
    for name, item in value.items():
        try:
            _merge_value(message.fields[parse_string(name)], item, depth + 1)
        except Misfit as misfit:
            misfit.path.append(shown(name))
            raise


def _write_struct(message: Any) -> str:
    return "{" + ",".join(f"{quote(name)}:{_write_value(value)}" for name, value in message.fields.items()) + "}"


def _merge_list(message: Any, value: Any, depth: int) -> None:
    if not isinstance(value, list):
        raise Misfit("must be a list")
    message.SetInParent()
    del message.values[:]
    for index, item in enumerate(value):
        try:
            _merge_value(message.values.add(), item, depth + 1)
        except Misfit as misfit:
            misfit.path.append(f"[{index}]")
            raise


def _write_list(message: Any) -> str:
    return "[" + ",".join(_write_value(value) for value in message.values) + "]"


def _merge_value(message: Any, value: Any, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise Misfit("is nested too deeply")
    if value is None:
        message.null_value = 0
    elif value is True or value is False:
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = parse_string(value)
    elif isinstance(value, dict):
        _merge_struct(message.struct_value, value, depth)
    elif isinstance(value, list):
        _merge_list(message.list_value, value, depth)
    else:
        message.number_value = _DOUBLE.parse(value)


def _write_value(message: Any) -> str:
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        if not math.isfinite(message.number_value):
            raise ValueError("a Value holds a number that JSON cannot spell")
        return write_double(message.number_value)
    if kind == "bool_value":
        return "true" if message.bool_value else "false"
    if kind == "string_value":
        return quote(message.string_value)
    if kind == "struct_value":
        return _write_struct(message.struct_value)
    if kind == "list_value":
        return _write_list(message.list_value)
    return "null"


def _wrapper(descriptor: Descriptor) -> WellKnown:
    """A wrapper (`google.protobuf.Int64Value`, …) looks like what it wraps."""
    scalar = scalar_of(descriptor.fields_by_name["value"])

    def merge(message: Any, value: Any, _depth: int) -> None:
        message.value = scalar.parse(value)
        message.SetInParent()

    def merge_text(message: Any, text: Any, _depth: int) -> None:
        message.value = scalar.parse_text(text)
        message.SetInParent()

    return WellKnown(merge, lambda message: scalar.write(message.value), merge_text)


_DOUBLE: Final = scalar_of(DoubleValue.DESCRIPTOR.fields_by_name["value"])
_WRAPPERS: Final = (
    DoubleValue, FloatValue, Int64Value, UInt64Value, Int32Value, UInt32Value, BoolValue, StringValue, BytesValue,
)  # fmt: skip

WELL_KNOWN: Final[dict[str, WellKnown]] = {
    "google.protobuf.Timestamp": WellKnown(_merge_timestamp, _write_timestamp, _merge_timestamp),
    "google.protobuf.Duration": WellKnown(_merge_duration, _write_duration, _merge_duration),
    "google.protobuf.FieldMask": WellKnown(_merge_mask, _write_mask, _merge_mask),
    "google.protobuf.Struct": WellKnown(_merge_struct, _write_struct),
    "google.protobuf.ListValue": WellKnown(_merge_list, _write_list),
    "google.protobuf.Value": WellKnown(_merge_value, _write_value),
    **{each.DESCRIPTOR.full_name: _wrapper(each.DESCRIPTOR) for each in _WRAPPERS},
}
"""By full message name."""
