"""What a catalogue file says: every row of a CSV file as a SKU, or as refused with its line and the reason.

Columns, in any order and case: `name`, and `sku` or `brand`, must be there. `product`, `brand` and `category` (or
`label`) are known; `price` is US dollars and becomes the attribute `price_usd`; every other column becomes an attribute
of its own name. Nothing here talks to a service: a file is read whole before anything of it is written.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from protovalidate import Validator, Violation

from beautymesh.inventory.v1.catalogue_pb2 import Sku
from meshctl.price_list import PRICE_ATTRIBUTE
from meshctl.refusal import SetupRefused

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
"""A file is held in memory whole, some three times over while it is read."""

CODE_CHARACTERS_MAX: Final = 64
ATTRIBUTE_CHARACTERS_MAX: Final = 4_096
ATTRIBUTES_MAX: Final = 64
"""Bounds of `beautymesh.inventory.v1.Sku` that must be known before a message is made; all others are read from it."""

_RENAMED: Final = {"label": "category", "price": PRICE_ATTRIBUTE}
_FIELDS: Final = ("sku", "name", "product", "brand", "category")
_PRICE: Final = re.compile(r"\d{1,9}(\.\d{1,2})?", re.ASCII)
_NOT_IN_SLUG: Final = re.compile(r"[^a-z0-9]+")
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be said about the row that begins at `line` (counted from 1, the header included)."""

    line: int
    text: str


@dataclass(slots=True)
class CatalogueFile:
    """The content of a file. `skus` has each code once, in order of the file; `shortened` rows are among them."""

    rows: int = 0
    skus: list[Sku] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)
    shortened: list[Note] = field(default_factory=list)


class _RowRefused(Exception):
    """This row is not imported; the message says why."""


def read_catalogue(raw: bytes, *, encoding: str) -> CatalogueFile:
    """Reads a whole file.

    Raises:
        SetupRefused: the file as a whole cannot be read: its encoding, its header or its quotes are wrong.
    """
    rows = _rows(_decode(raw, encoding))
    _, names = next(rows, (1, []))
    columns = _columns(names)
    found = CatalogueFile()
    validator = Validator()
    lines_of: dict[str, int] = {}
    for line, values in rows:
        found.rows += 1
        try:
            sku, shortened = _sku(columns, values, validator)
            if sku.sku in lines_of:
                raise _RowRefused(f"the same SKU ({sku.sku}) as in line {lines_of[sku.sku]}")
        except _RowRefused as refusal:
            found.refused.append(Note(line, str(refusal)))
            continue
        lines_of[sku.sku] = line
        found.skus.append(sku)
        found.shortened.extend(Note(line, each) for each in shortened)
    return found


def sku_code(*, brand: str, name: str, category: str) -> str:
    """A code for a product that has none: readable, ASCII, the same in every file and for every order of rows.

    The hash tells apart what the slug does not (`Crème` and `Creme`, or the ends of long names); case and spacing do
    not count.
    """
    normal = [unicodedata.normalize("NFC", " ".join(each.split()).casefold()) for each in (brand, name, category)]
    digits = hashlib.sha256("\0".join(normal).encode()).hexdigest()[:_HASH_DIGITS]
    ascii_only = unicodedata.normalize("NFKD", f"{brand} {name}".casefold()).encode("ascii", "ignore").decode()
    slug = _NOT_IN_SLUG.sub("-", ascii_only.lower()).strip("-") or "sku"
    return f"{slug[: CODE_CHARACTERS_MAX - 1 - _HASH_DIGITS].rstrip('-')}-{digits}"


def _decode(raw: bytes, encoding: str) -> str:
    if len(raw) > FILE_BYTES_MAX:
        raise SetupRefused(f"the file has {len(raw)} bytes; at most {FILE_BYTES_MAX} are read", "split it")
    try:
        is_utf8 = codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}
        if raw.startswith(codecs.BOM_UTF8) and not is_utf8:
            raise SetupRefused(f"the file begins with the mark of UTF-8; it is not {encoding}", "use --encoding utf-8")
        return raw.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise SetupRefused(f"there is no text encoding {encoding}", "common ones: utf-8, cp1252, utf-16") from None
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise SetupRefused(
            f"the file is not {encoding}: byte 0x{raw[fault.start]:02x} at offset {fault.start}, line {line};"
            " nothing was imported",
            *_other_encodings(raw, encoding),
        ) from None


def _other_encodings(raw: bytes, encoding: str) -> Iterator[str]:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "its first bytes are those of UTF-16: --encoding utf-16"
        return
    for other, said in (("utf-8", "it is valid UTF-8"), ("cp1252", "Windows and Excel often write cp1252")):
        try:
            raw.decode(other)
        except UnicodeDecodeError:
            continue
        if codecs.lookup(other) != codecs.lookup(encoding):
            yield f"{said}: --encoding {other}"
            return
    yield "find out how the file was written, and name it with --encoding"


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line it begins at."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            raise SetupRefused(
                f"line {line}: {fault}; where the next row begins cannot be known, so nothing was imported",
                "mend the quotes of that row",
            ) from None
        if values:
            yield line, values


def _columns(header: Sequence[str]) -> list[str]:
    """The fields and attributes that the columns stand for."""
    plain = ["_".join(name.casefold().split()) for name in header]
    columns = [_RENAMED.get(name, name) for name in plain]
    has = f"it has: {', '.join(header) or 'nothing'}"
    missing = [] if "name" in columns else ["name"]
    if not {"sku", "brand"} & set(columns):
        missing.append("sku or brand")
    if missing:
        raise SetupRefused(f"the header lacks {' and '.join(missing)}; {has}", "name the columns in the first line")
    if "" in columns:
        raise SetupRefused(f"column {columns.index('') + 1} of the header has no name", "name it, or remove the column")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise SetupRefused(f"two columns of the header mean {twice[0]}; {has}", "rename or remove one of them")
    attributes = len(set(columns) - set(_FIELDS))
    if attributes > ATTRIBUTES_MAX:
        raise SetupRefused(f"{attributes} columns would become attributes; at most {ATTRIBUTES_MAX} can", "remove some")
    return columns


def _sku(columns: Sequence[str], values: Sequence[str], validator: Validator) -> tuple[Sku, list[str]]:
    """The row as a valid SKU, and what was shortened in it."""
    if len(values) != len(columns):
        raise _RowRefused(f"{len(values)} columns where the header has {len(columns)}")
    row = dict(zip(columns, values, strict=True))
    for name, value in row.items():
        if "\0" in value:
            raise _RowRefused(f"{name} holds a NUL byte")
    fields = {name: " ".join(row.pop(name, "").split()) for name in _FIELDS}
    if not fields["name"]:
        raise _RowRefused("name is missing")
    price = row.get(PRICE_ATTRIBUTE, "").strip()
    if price and not _PRICE.fullmatch(price):
        raise _RowRefused(f"price {price[:40]!r} is not an amount of dollars such as 12 or 12.50")
    if not fields["sku"]:
        fields["sku"] = sku_code(brand=fields["brand"], name=fields["name"], category=fields["category"])
    attributes, shortened = _attributes(row)
    sku = Sku(**fields, attributes=attributes)
    violations = validator.collect_violations(sku)
    if violations:
        raise _RowRefused("; ".join(_said(each) for each in violations))
    return sku, shortened


def _said(violation: Violation) -> str:
    proto = violation.proto
    name = proto.field.elements[0].field_name if proto.field is not None else "the row"
    return f"{name} {proto.message}"


def _attributes(row: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The values that are not empty; one that is too long loses its end, at a comma if there is one."""
    attributes, shortened = {}, []
    for name, value in row.items():
        text = value.strip()
        if len(text) > ATTRIBUTE_CHARACTERS_MAX:
            kept = text[: ATTRIBUTE_CHARACTERS_MAX - 1]
            kept = (kept.rpartition(", ")[0] or kept) + "…"
            shortened.append(f"{name} has {len(text)} characters; {len(kept)} are kept")
            text = kept
        if text:
            attributes[name] = text
    return attributes, shortened
