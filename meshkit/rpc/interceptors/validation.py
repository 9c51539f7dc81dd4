"""Last stage: the request is a message of its type, within the contract's bounds."""

from __future__ import annotations

import json
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import CompilationError, Validator, Violation
from protovalidate import FieldPathElementPb as FieldPathElement

from meshkit.core.errors import FieldViolation, InvalidRequest
from meshkit.rpc.bounds import count_bound
from meshkit.rpc.options import ContractFault, RpcPolicy
from meshkit.rpc.status import VIOLATIONS_MAX

RequestT = TypeVar("RequestT", bound=Message)

ELEMENTS_MAX: Final = 250
"""How many list entries, map entries and messages within messages a request may have whose faults are all looked for.

A fault costs 25 µs, and an entry may have several, so this many entries cost some 20 ms of the loop at the worst; of a
larger request, which may have 10,000 lines, only the first fault is named. May be 100 (a cart) to 1,000.
"""

_COUNT_RULES: Final = frozenset({"repeated.max_items", "map.max_pairs"})


class Validation(Generic[RequestT]):
    """Parses and checks the requests of one RPC."""

    __slots__ = ("_count_bounds", "_limit_bytes", "_request_class", "_validator")

    def __init__(self, policy: RpcPolicy, request_class: type[RequestT], validator: Validator) -> None:
        """The validator is shared: it keeps each message type's compiled rules.

        Raises:
            ContractFault: a rule of the type cannot be compiled. Found here, not by the first caller.
        """
        try:
            validator.collect_violations(request_class())
        except CompilationError as error:
            raise ContractFault(f"{policy.name}: {error}") from error
        request: Any = request_class.DESCRIPTOR  # its stub has two kinds of descriptor
        bounds = ((field.name, count_bound(field)) for field in request.fields)
        self._count_bounds = [(name, bound) for name, bound in bounds if bound is not None]
        self._limit_bytes = policy.body_limit_bytes
        self._request_class = request_class
        self._validator = validator

    def parse(self, body: bytes) -> RequestT:
        """The request.

        Raises:
            InvalidRequest: too large, not a message of the type, or naming every field that breaks a rule.
        """
        if len(body) > self._limit_bytes:
            raise InvalidRequest(
                f"the request has {len(body)} bytes; at most {self._limit_bytes} are accepted",
                metadata={"body_bytes": str(len(body)), "body_limit_bytes": str(self._limit_bytes)},
            )
        try:
            request = self._request_class.FromString(body)
        except DecodeError as error:
            raise InvalidRequest(f"the body is not a {self._request_class.DESCRIPTOR.full_name}") from error
        self.check(request)
        return request

    def check(self, request: RequestT) -> None:
        """The same rules for a message that did not come as bytes.

        The work is bounded: a service has one loop, and a body of 4 MiB holds 1.4 million empty lines.

        Raises:
            InvalidRequest: naming every field that breaks a rule; of a request with too many entries that alone, and of
                one with more than `ELEMENTS_MAX` the first.
        """
        for name, bound in self._count_bounds:
            if len(getattr(request, name)) > bound.entries_max:
                raise InvalidRequest.of(name, bound.refusal)
        first = self._validator.collect_violations(request, fail_fast=True)
        if not first:
            return
        if first[0].proto.rule_id in _COUNT_RULES or not _is_small(request):
            named = _field_violation(first[0], request)
            raise InvalidRequest(f"{_said(named)} (and perhaps more)", violations=(named,))
        violations = self._validator.collect_violations(request)
        named = _field_violation(violations[0], request)
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise InvalidRequest(
            _said(named) + more,
            metadata={"violations": str(len(violations))},
            violations=tuple(_field_violation(each, request) for each in violations[:VIOLATIONS_MAX]),
        )


def _is_small(request: Message) -> bool:
    """Whether it has no more than `ELEMENTS_MAX` elements; looks at no more than that."""
    left = ELEMENTS_MAX
    waiting = [request]
    while waiting:
        for field, value in waiting.pop().ListFields():
            left -= len(value) if field.is_repeated else field.message_type is not None
            if left < 0:
                return False
            if field.message_type is None:
                continue
            if not field.is_repeated:
                waiting.append(value)
            elif not field.message_type.GetOptions().map_entry:
                waiting.extend(value)
            elif field.message_type.fields_by_name["value"].message_type is not None:
                waiting.extend(value.values())
    return True


def _said(violation: FieldViolation) -> str:
    return f"{violation.field}: {violation.description}" if violation.field else violation.description


def _field_violation(violation: Violation, request: Message) -> FieldViolation:
    proto = violation.proto
    elements = proto.field.elements if proto.field is not None else ()
    path = ".".join(_element(each) for each in elements)
    said = proto.message or proto.rule_id or "is not valid"
    if not path:
        # A rule of the whole message has no path; its words begin with the first field that it is about.
        word = said.partition(" ")[0]
        path = word if word in request.DESCRIPTOR.fields_by_name else ""
    return FieldViolation(path, said)


def _element(element: FieldPathElement) -> str:
    if element.subscript is None:
        return element.field_name
    key = element.subscript.value
    return f"{element.field_name}[{json.dumps(key) if isinstance(key, str) else key}]"
