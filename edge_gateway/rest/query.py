"""Which field a query parameter or path variable is, and how its text gets there.

A parameter is the path of a field from the request down, each name in either spelling (`filter.omitLevels`,
`filter.omit_levels`). A repeated field takes its parameter several times; any other takes it once.
"""
# ruff: noqa: ANN401 — messages here are of any type: the descriptor says which

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from edge_gateway.rest.codec import Codecs, Put, few, guarded
from edge_gateway.rest.json_text import Misfit, shown
from edge_gateway.rest.router import percent_decode
from edge_gateway.rest.scalars import scalar_of
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.options import is_internal

PARAMETERS_MAX: Final = 1_024
"""How many parameters one query may have: as many as the longest list that a filter takes, and some."""

DEPTH_MAX: Final = 8
"""How many names a parameter's path may have; a type that contains itself would have no end."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field that text can set: its path from the request down in proto names, and the put of its last step."""

    path: tuple[str, ...]
    json_path: str
    field: FieldDescriptor
    steps: tuple[FieldDescriptor, ...]
    put: Put

    @property
    def is_repeated(self) -> bool:
        """Whether it may be given several times."""
        return self.field.is_repeated

    def set(self, message: Any, text: str) -> None:
        """Sets the field, or adds to it.

        Raises:
            Misfit: with the whole path.
        """
        try:
            owner = message
            for step in self.steps:
                _refuse_second_member(owner, step)
                owner = getattr(owner, step.name)
            self.put(owner, text, 0)
        except Misfit as misfit:
            misfit.path = [self.json_path]
            raise

    def value(self, message: Any) -> Any:
        """What the field holds; None where it is absent."""
        owner = message
        for step in self.steps:
            owner = getattr(owner, step.name)
        if self.field.has_presence and not owner.HasField(self.field.name):
            return None
        found = getattr(owner, self.field.name)
        if self.field.message_type is not None:
            copy = type(found)()
            copy.CopyFrom(found)  # what the field holds now: `found` changes with it
            return copy
        return found


def _refuse_second_member(owner: Any, step: FieldDescriptor) -> None:
    if step.containing_oneof is not None:
        taken = owner.WhichOneof(step.containing_oneof.name)
        if taken not in (None, step.name):
            raise Misfit(f"excludes {owner.DESCRIPTOR.fields_by_name[taken].json_name}, which is given as well")


def parameter_at(request: Descriptor, path: tuple[str, ...], codecs: Codecs) -> Parameter | None:
    """The parameter at a path of names in either spelling; None where there is no field that text could set."""
    message, steps = request, []
    for name in path[:-1]:
        step = _field(message, name, codecs)
        if step is None or step.is_repeated or step.message_type is None:
            return None
        steps.append(step)
        message = step.message_type
    field = _field(message, path[-1], codecs)
    put = None if field is None else _text_put(field, codecs)
    if field is None or put is None:
        return None
    names = [*steps, field]
    json_path = ".".join(each.json_name for each in names)
    return Parameter(tuple(each.name for each in names), json_path, field, tuple(steps), put)


def _field(message: Descriptor, name: str, codecs: Codecs) -> FieldDescriptor | None:
    if codecs.of(message).is_well_known:
        return None
    found = message.fields_by_camelcase_name.get(name) or message.fields_by_name.get(name)
    return None if found is None or is_internal(found) else found


def _text_put(field: FieldDescriptor, codecs: Codecs) -> Put | None:
    name = field.name
    require_few = few(field)
    if field.message_type is not None:
        merge = codecs.of(field.message_type).merge_text
        if merge is None:
            return None

        def put_message(owner: Any, text: Any, depth: int) -> None:
            held = getattr(owner, name)
            if field.is_repeated:
                require_few(len(held) + 1)
            merge(held.add() if field.is_repeated else held, text, depth)

        return guarded(field, put_message)
    parse = scalar_of(field).parse_text

    def put_scalar(owner: Any, text: Any, _depth: int) -> None:
        if field.is_repeated:
            held = getattr(owner, name)
            require_few(len(held) + 1)
            held.append(parse(text))
        else:
            setattr(owner, name, parse(text))

    return guarded(field, put_scalar)


class QueryReader:
    """Reads the query of one route."""

    __slots__ = ("_bound", "_codecs", "_known", "_request")

    def __init__(self, request: Descriptor | None, codecs: Codecs, bound: AbstractSet[tuple[str, ...]]) -> None:
        """`bound` are the paths that path and body set already; without `request` the body sets everything."""
        self._request = request
        self._codecs = codecs
        self._bound = bound
        self._known: dict[str, Parameter] = {}

    def read(self, query: bytes, message: Any) -> None:
        """Sets the fields that the query names.

        Raises:
            InvalidRequest: naming the parameter that is unknown, repeated, bound elsewhere or does not fit.
        """
        pairs = query.split(b"&", PARAMETERS_MAX)
        if len(pairs) > PARAMETERS_MAX:
            raise InvalidRequest(f"the query has more than {PARAMETERS_MAX} parameters")
        seen: set[tuple[str, ...]] = set()
        for pair in pairs:
            if not pair:
                continue
            raw_name, _, raw_text = pair.partition(b"=")
            parameter = self._parameter(_decode(raw_name))
            if not parameter.is_repeated:
                if parameter.path in seen:
                    raise InvalidRequest.of(parameter.json_path, "is given twice")
                seen.add(parameter.path)
            try:
                parameter.set(message, _decode(raw_text))
            except Misfit as misfit:
                raise misfit.refusal() from None

    def _parameter(self, name: str) -> Parameter:
        known = self._known.get(name)
        if known is not None:
            return known
        path = tuple(name.split(".", DEPTH_MAX))
        found = None
        if self._request is not None and len(path) <= DEPTH_MAX:
            found = parameter_at(self._request, path, self._codecs)
        if found is None:
            raise InvalidRequest.of(shown(name), "is not a query parameter of this route")
        if any(found.path[: len(each)] == each for each in self._bound):
            raise InvalidRequest.of(found.json_path, "is not a query parameter: the path or the body sets it")
        self._known[name] = found  # names of fields in two spellings: there are only so many
        return found


def _decode(text: bytes) -> str:
    return percent_decode(text.replace(b"+", b" "), "query")
