"""How the scalar types of Protobuf look in JSON, each way, and in a path or query.

Source: the ProtoJSON specification (protobuf.dev/programming-guides/json).
"""
# ruff: noqa: ANN401 — values of JSON and of fields are of any type

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from edge_gateway.rest.json_text import Misfit

Parse = Callable[[Any], Any]
Write = Callable[[Any], str]

NUMBER_CHARACTERS_MAX: Final = 64
"""Longest number that is read from a string."""

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?").fullmatch
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}").fullmatch
_TO_STANDARD_ALPHABET: Final = str.maketrans("-_", "+/")
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NOT_FINITE_WRITTEN: Final = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}

quote: Final[Write] = encode_basestring
"""A string as JSON, in quotes. Only what must be is escaped; the body is UTF-8."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`parse` takes a JSON value, `parse_text` a path's or query's text; both raise `Misfit`. `write` gives JSON."""

    parse: Parse
    parse_text: Parse
    write: Write


def scalar_of(field: FieldDescriptor) -> Scalar:
    """How a field's single values look; the field is not of a message type."""
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return _SCALARS[field.type]


def _integer(low: int, high: int) -> Parse:
    def parse(value: Any) -> int:
        if type(value) is not int:
            value = _whole(value)
        if low <= value <= high:
            return int(value)
        raise Misfit(f"must lie within {low} and {high}")

    return parse


def _whole(value: Any) -> int:
    """An integer that is not written as a plain JSON integer: `"5"`, `1e2`, `"1.0"`."""
    if isinstance(value, str) and len(value) <= NUMBER_CHARACTERS_MAX and _NUMBER(value):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise Misfit("must be an integer, as a number or a string")
    if not -(2**64) < value < 2**64:  # before it is made an integer: 1e999999999 would have that many digits
        raise Misfit("is out of range")
    if value != int(value):
        raise Misfit("must be a whole number")
    return int(value)


def _parse_double(value: Any) -> float:
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if len(value) > NUMBER_CHARACTERS_MAX or not _NUMBER(value):
            raise Misfit("must be a number")
    elif isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Misfit("must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Misfit("is out of range")
    return number


def _parse_float(value: Any) -> float:
    number = _parse_double(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        raise Misfit("is out of range") from None
    return number


def write_double(value: float) -> str:
    """A number in the shortest form that reads back the same; integral ones as integers."""
    if not math.isfinite(value):
        return _NOT_FINITE_WRITTEN[str(value)]
    return _shortest(value)


def _write_float(value: float) -> str:
    if not math.isfinite(value):
        return _NOT_FINITE_WRITTEN[str(value)]
    # The field holds a single widened to a double; 9 digits always read back the same, often fewer do.
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == struct.pack("<f", value):
            return _shortest(short)
    return _shortest(value)


def _shortest(value: float) -> str:
    text = repr(value)
    return text[:-2] if text.endswith(".0") and value else text  # -0.0 keeps its sign only as a fraction


def _parse_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise Misfit("must be true or false")


def _parse_bool_text(text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    raise Misfit("must be true or false")


def parse_string(value: Any) -> str:
    """A string that every store of ours can hold."""
    if not isinstance(value, str):
        raise Misfit("must be a string")
    if "\0" in value:
        raise Misfit("must not hold NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit("holds half of a surrogate pair") from None
    return value


def _parse_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        text = value.translate(_TO_STANDARD_ALPHABET).rstrip("=")
        try:
            if _BASE64(text):
                return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            pass
    raise Misfit("must be base64")


def _write_bytes(value: bytes) -> str:
    return f'"{base64.b64encode(value).decode()}"'


def _enum(enum: EnumDescriptor) -> Scalar:
    numbers = {name: each.number for name, each in enum.values_by_name.items()}
    written = {number: f'"{each.name}"' for number, each in enum.values_by_number.items()}
    names = ", ".join(each.name for each in enum.values)
    parse_number = _integer(-(2**31), 2**31 - 1)

    def parse(value: Any) -> int:
        if isinstance(value, str):
            number = numbers.get(value)
            if number is None:
                raise Misfit(f"must be one of {names}")
            return number
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise Misfit(f"must be one of {names}")
        number = int(parse_number(value))
        if enum.is_closed and number not in written:
            raise Misfit(f"must be one of {names}")
        return number

    def parse_text(text: str) -> int:
        is_number = len(text) <= NUMBER_CHARACTERS_MAX and _NUMBER(text) and text.lstrip("-").isdigit()
        return parse(int(text) if is_number else text)

    def write(number: int) -> str:
        return written.get(number) or str(number)

    return Scalar(parse, parse_text, write)


def _quoted(value: int) -> str:
    return f'"{value}"'


def _write_bool(value: bool) -> str:  # noqa: FBT001 — a field's value
    return "true" if value else "false"


def _both(parse: Parse, write: Write) -> Scalar:
    """Types that a string may stand for in JSON as well."""
    return Scalar(parse, parse, write)


_INT32: Final = _both(_integer(-(2**31), 2**31 - 1), str)
_UINT32: Final = _both(_integer(0, 2**32 - 1), str)
_INT64: Final = _both(_integer(-(2**63), 2**63 - 1), _quoted)
_UINT64: Final = _both(_integer(0, 2**64 - 1), _quoted)

_SCALARS: Final[dict[int, Scalar]] = {
    FieldDescriptor.TYPE_DOUBLE: _both(_parse_double, write_double),
    FieldDescriptor.TYPE_FLOAT: _both(_parse_float, _write_float),
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_BOOL: Scalar(_parse_bool, _parse_bool_text, _write_bool),
    FieldDescriptor.TYPE_STRING: _both(parse_string, quote),
    FieldDescriptor.TYPE_BYTES: _both(_parse_bytes, _write_bytes),
}
