"""Last stage: the request is a message of its type, within the contract's bounds."""

from __future__ import annotations

import json
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import CompilationError, Validator, Violation
from protovalidate import FieldPathElementPb as FieldPathElement

from meshkit.core.errors import FieldViolation, InvalidRequest
from meshkit.rpc.options import ContractFault, RpcPolicy
from meshkit.rpc.status import VIOLATIONS_MAX

RequestT = TypeVar("RequestT", bound=Message)


class Validation(Generic[RequestT]):
    """Parses and checks the requests of one RPC."""

    __slots__ = ("_limit_bytes", "_request_class", "_validator")

    def __init__(self, policy: RpcPolicy, request_class: type[RequestT], validator: Validator) -> None:
        """The validator is shared: it keeps each message type's compiled rules.

        Raises:
            ContractFault: a rule of the type cannot be compiled. Found here, not by the first caller.
        """
        try:
            validator.collect_violations(request_class())
        except CompilationError as error:
            raise ContractFault(f"{policy.name}: {error}") from error
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

        Raises:
            InvalidRequest: naming every field that breaks a rule.
        """
        violations = self._validator.collect_violations(request)
        if violations:
            raise _invalid(violations)


def _invalid(violations: list[Violation]) -> InvalidRequest:
    named = tuple(_field_violation(each) for each in violations[:VIOLATIONS_MAX])
    first = named[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return InvalidRequest(
        f"{first.field}: {first.description}{more}" if first.field else f"{first.description}{more}",
        metadata={"violations": str(len(violations))},
        violations=named,
    )


def _field_violation(violation: Violation) -> FieldViolation:
    proto = violation.proto
    elements = proto.field.elements if proto.field is not None else ()
    path = ".".join(_element(each) for each in elements)
    return FieldViolation(path, proto.message or proto.rule_id or "is not valid")


def _element(element: FieldPathElement) -> str:
    if element.subscript is None:
        return element.field_name
    key = element.subscript.value
    return f"{element.field_name}[{json.dumps(key) if isinstance(key, str) else key}]"
