"""How messages become canonical ProtoJSON and back: one codec per message type, compiled from its descriptor.

Out: lowerCamelCase names, every field without presence (so that a zero is seen), and of the others those that are set.
In: both spellings of a name, once; null as absent; nothing unknown. What does not fit is refused with its path. Fields
that are for services of the mesh only do not exist here, in or out.

`json_format` of the protobuf package takes two to three times as long, names no path in most faults, and reads numbers
as floats.
"""
# ruff: noqa: ANN401 — messages here are of any type: their descriptors say what they hold

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from edge_gateway.rest.json_text import Misfit, not_an_object, parse_json, shown
from edge_gateway.rest.scalars import Parse, Write, quote, scalar_of
from edge_gateway.rest.wellknown import DEPTH_MAX, WELL_KNOWN, WellKnown
from meshkit.rpc.bounds import count_bound
from meshkit.rpc.options import ContractFault, is_internal

Put = Callable[[Any, Any, int], None]
"""Sets a field of a message from a JSON value at a depth; raises `Misfit`."""

VALUE: Final = "google.protobuf.Value"

NOT_SPELLED: Final = frozenset({"google.protobuf.Any", "google.protobuf.NullValue"})
"""Types whose JSON has rules of its own, which no message of the mesh needs: a fault at the start."""


class Codecs:
    """The codecs of one process, by message type; each is compiled when it is first asked for."""

    def __init__(self) -> None:
        """Starts empty."""
        self._made: dict[str, MessageCodec] = {}

    def of(self, descriptor: Descriptor) -> MessageCodec:
        """The codec of a message type.

        Raises:
            ContractFault: a field below it has a type that has no form here.
        """
        made = self._made.get(descriptor.full_name)
        if made is None:
            made = self._made[descriptor.full_name] = MessageCodec(descriptor)
            made.compile(self)  # after it is known, because types may contain themselves
        return made


class MessageCodec:
    """Reads and writes messages of one type."""

    __slots__ = ("_known", "_name", "_other_spellings", "_putters", "_well_known", "_writers", "fields")

    def __init__(self, descriptor: Descriptor) -> None:
        """Use `Codecs.of`."""
        self._name = descriptor.full_name
        self._well_known: WellKnown | None = WELL_KNOWN.get(descriptor.full_name)
        self.fields: dict[str, FieldDescriptor] = {}
        if self._well_known is None:
            self.fields = {field.name: field for field in descriptor.fields if not is_internal(field)}
        self._putters: dict[str, Put] = {}
        self._other_spellings: dict[str, str] = {}
        self._writers: list[Callable[[Any], str]] = []

    def compile(self, codecs: Codecs) -> None:
        """Makes the closures of every field.

        Raises:
            ContractFault: a field's type has no form here.
        """
        for field in self.fields.values():
            kind = field.message_type or field.enum_type
            if kind is not None and kind.full_name in NOT_SPELLED:
                raise ContractFault(f"{field.full_name}: a {kind.full_name} is not spelled in JSON here")
            self._putters[field.json_name] = make_put(field, codecs)
            self._writers.append(_named_write(field, make_write(field, codecs)))
        for field in self.fields.values():
            if field.name not in self._putters:
                self._other_spellings[field.name] = field.json_name

    @property
    def is_well_known(self) -> bool:
        """Whether JSON spells it in a form of its own, not as an object of its fields."""
        return self._well_known is not None

    @property
    def merge_text(self) -> Put | None:
        """How a path or query spells the whole message; None where it cannot."""
        return None if self._well_known is None else self._well_known.merge_text

    def decode(self, body: bytes, message: Any) -> None:
        """Sets `message`, which is empty, from a JSON body.

        Raises:
            InvalidRequest: with the path of what does not fit.
        """
        value = parse_json(body)
        try:
            self.merge(message, value, 0)
        except Misfit as misfit:
            raise misfit.refusal() from None

    def encode(self, message: Any) -> bytes:
        """The canonical JSON of a message, on one line."""
        return self.write(message).encode()

    def merge(self, message: Any, value: Any, depth: int) -> None:
        """Sets `message` from a JSON value.

        Raises:
            Misfit: with the path from here on.
        """
        if self._well_known is not None:
            self._well_known.merge(message, value, depth)
            return
        if type(value) is not dict:
            raise not_an_object(value, self._spell)
        if depth > DEPTH_MAX:
            raise Misfit("is nested too deeply")
        putters = self._putters
        name = ""
        try:
            for name, item in value.items():
                put = putters.get(name)
                (put or self._other_spelling(name, value))(message, item, depth)
        except Misfit as misfit:
            misfit.path.append(self._spell(name))
            raise

    def write(self, message: Any) -> str:
        """The canonical JSON of a message."""
        if self._well_known is not None:
            return self._well_known.write(message)
        return "{" + ",".join([part for write in self._writers if (part := write(message))]) + "}"

    def _spell(self, name: str) -> str:
        """A caller's key as a path shows it: a field by its JSON name, anything else as it came."""
        return self._other_spellings.get(name) or shown(name)

    def _other_spelling(self, name: str, value: dict[str, Any]) -> Put:
        """A field by its name in the proto file."""
        json_name = self._other_spellings.get(name)
        if json_name is None:
            raise Misfit("is not known")
        if json_name in value:
            raise Misfit(f"is given twice, also as {name}")
        return self._putters[json_name]


def make_put(field: FieldDescriptor, codecs: Codecs) -> Put:
    """How a JSON value gets into a field."""
    if _is_map(field):
        put = _put_map(field, codecs)
    elif field.is_repeated:
        put = _put_list(field, codecs)
    elif field.message_type is not None:
        put = _put_message(field, codecs)
    else:
        put = _put_scalar(field, scalar_of(field).parse)
    if field.message_type is not None and field.message_type.full_name == VALUE and not field.is_repeated:
        return guarded(field, put)  # the one type that has a null of its own
    inner = guarded(field, put)

    def put_unless_null(message: Any, value: Any, depth: int) -> None:
        if value is not None:
            inner(message, value, depth)

    return put_unless_null


def guarded(field: FieldDescriptor, put: Put) -> Put:
    """The same, but refused where another member of the field's oneof is set already."""
    oneof = field.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and oneof.name.startswith("_")):  # an `optional` field's own oneof
        return put
    oneof_name, name = oneof.name, field.name

    def put_alone(message: Any, value: Any, depth: int) -> None:
        taken = message.WhichOneof(oneof_name)
        if taken is not None and taken != name:
            other = message.DESCRIPTOR.fields_by_name[taken].json_name
            raise Misfit(f"excludes {other}, which is given as well")
        put(message, value, depth)

    return put_alone


def _put_scalar(field: FieldDescriptor, parse: Parse) -> Put:
    name = field.name

    def put(message: Any, value: Any, _depth: int) -> None:
        setattr(message, name, parse(value))

    return put


def _put_message(field: FieldDescriptor, codecs: Codecs) -> Put:
    assert field.message_type is not None
    name = field.name
    codec = codecs.of(field.message_type)

    def put(message: Any, value: Any, depth: int) -> None:
        child = getattr(message, name)
        child.SetInParent()  # set, also where all of its fields have their defaults
        codec.merge(child, value, depth + 1)

    return put


def few(field: FieldDescriptor) -> Callable[[int], None]:
    """Refuses a number of entries that the contract does not let the field have, in the words of the services."""
    bound = count_bound(field)
    if bound is None:
        return lambda _entries: None

    def require_few(entries: int) -> None:
        if entries > bound.entries_max:
            raise Misfit(bound.refusal)

    return require_few


def _put_list(field: FieldDescriptor, codecs: Codecs) -> Put:
    name = field.name
    add = _adder(field, codecs)
    require_few = few(field)

    def put(message: Any, value: Any, depth: int) -> None:
        if type(value) is not list:
            raise Misfit("must be a list")
        require_few(len(value))  # before any is decoded
        items = getattr(message, name)
        index = 0
        try:
            for index, item in enumerate(value):  # noqa: B007 — named in the fault below
                add(items, item, depth)
        except Misfit as misfit:
            misfit.path.append(f"[{index}]")
            raise

    return put


def _adder(field: FieldDescriptor, codecs: Codecs) -> Put:
    if field.message_type is None:
        parse = scalar_of(field).parse
        return lambda items, value, _depth: items.append(parse(value))
    codec = codecs.of(field.message_type)
    return lambda items, value, depth: codec.merge(items.add(), value, depth + 1)


def _put_map(field: FieldDescriptor, codecs: Codecs) -> Put:
    name = field.name
    key_field, value_field = _map_fields(field)
    parse_key = scalar_of(key_field).parse_text
    codec = None if value_field.message_type is None else codecs.of(value_field.message_type)
    parse = scalar_of(value_field).parse if codec is None else None
    require_few = few(field)

    def put(message: Any, value: Any, depth: int) -> None:
        if type(value) is not dict:
            raise not_an_object(value, _subscript)
        require_few(len(value))
        entries = getattr(message, name)
        for text, item in value.items():
            try:
                key = parse_key(text)
                if key in entries:
                    raise Misfit("is given twice")
                if codec is not None:
                    codec.merge(entries[key], item, depth + 1)
                elif parse is not None:
                    entries[key] = parse(item)
            except Misfit as misfit:
                misfit.path.append(_subscript(text))
                raise

    return put


def _subscript(key: str) -> str:
    return f"[{quote(shown(key))}]"


def make_write(field: FieldDescriptor, codecs: Codecs) -> Write:
    """The JSON of a field's value, given the value."""
    if _is_map(field):
        key_field, value_field = _map_fields(field)
        write_key = scalar_of(key_field).write
        write_value = _write_one(value_field, codecs)

        def write_map(entries: Any) -> str:
            # A map's order is not defined; sorted, equal messages have equal JSON, and so equal ETags.
            parts = [f"{_as_key(write_key(key))}:{write_value(entries[key])}" for key in sorted(entries)]
            return "{" + ",".join(parts) + "}"

        return write_map
    write = _write_one(field, codecs)
    if not field.is_repeated:
        return write
    return lambda items: "[" + ",".join([write(item) for item in items]) + "]"


def _write_one(field: FieldDescriptor, codecs: Codecs) -> Write:
    return scalar_of(field).write if field.message_type is None else codecs.of(field.message_type).write


def _as_key(written: str) -> str:
    return written if written.startswith('"') else f'"{written}"'


def _named_write(field: FieldDescriptor, write: Write) -> Write:
    """The JSON member of a message's field; empty where the field is not set."""
    name, prefix = field.name, f"{quote(field.json_name)}:"
    if not field.has_presence:
        return lambda message: prefix + write(getattr(message, name))
    return lambda message: prefix + write(getattr(message, name)) if message.HasField(name) else ""


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _map_fields(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    return entry["key"], entry["value"]
