"""How path, query and body of a request become one message, as the RPC's `google.api.http` annotation says.

Every field of the request is bound by exactly one of them: path variables first, then the body (`*`, or one field), and
the query takes what is left where the body is not `*`. A body of `*` may repeat what the path says.
"""
# ruff: noqa: ANN401 — request messages are of any type: the descriptor says which

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from edge_gateway.rest.codec import Codecs, make_write
from edge_gateway.rest.json_text import Misfit, parse_json
from edge_gateway.rest.query import Parameter, QueryReader, parameter_at
from edge_gateway.rest.template import Template, TemplateFault, parse_template
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.options import ContractFault, RpcPolicy, read_policies

ALL: Final = "*"
"""`body: "*"`: the body is the whole message."""


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP route of one RPC, as the contract says it. `number` counts the additional bindings from 1; else 0."""

    method: MethodDescriptor
    policy: RpcPolicy
    http_method: str
    template: Template
    body: str
    response_body: str
    number: int

    @property
    def takes_body(self) -> bool:
        """Whether a request has one."""
        return bool(self.body)

    @property
    def bound(self) -> set[tuple[str, ...]]:
        """The paths of the fields that path and body set; the query sets none below them."""
        paths = {tuple(each.field_path.split(".")) for each in self.template.variables}
        return paths if self.body in ("", ALL) else {*paths, (self.body,)}


def read_routes(services: Sequence[ServiceDescriptor]) -> list[Route]:
    """The routes of every RPC that has any, in the order of the files.

    Raises:
        ContractFault: naming every annotation that cannot be read, all at once.
    """
    policies = read_policies(services)
    routes: list[Route] = []
    faults: list[str] = []
    for service in services:
        for method in service.methods:
            policy = policies[f"/{service.full_name}/{method.name}"]
            for number, rule in enumerate(_rules(method)):
                try:
                    routes.append(_route(method, policy, rule, number))
                except TemplateFault as fault:
                    faults.append(f"{policy.name}: {fault}")
    if faults:
        raise ContractFault("routes cannot be read:\n  " + "\n  ".join(faults))
    return routes


def _rules(method: MethodDescriptor) -> Iterator[http_pb2.HttpRule]:
    options: Any = method.GetOptions()  # google.api's stub types its extension as a plain field
    if options.HasExtension(annotations_pb2.http):
        rule: http_pb2.HttpRule = options.Extensions[annotations_pb2.http]
        yield rule
        yield from rule.additional_bindings


def _route(method: MethodDescriptor, policy: RpcPolicy, rule: http_pb2.HttpRule, number: int) -> Route:
    pattern = rule.WhichOneof("pattern")
    if pattern is None:
        raise TemplateFault("the http annotation has no path")
    http_method, path = (
        (rule.custom.kind, rule.custom.path) if pattern == "custom" else (pattern.upper(), str(getattr(rule, pattern)))
    )
    if number and rule.additional_bindings:
        raise TemplateFault(f"{path!r}: an additional binding has additional bindings")
    if http_method in ("", "OPTIONS"):
        raise TemplateFault(f"{path!r}: no route can have the method {http_method!r}")  # the edge answers OPTIONS
    if rule.body and http_method in ("GET", "HEAD", "DELETE"):
        raise TemplateFault(f"{path!r}: {http_method} has no body")
    for kind, name in (("body", rule.body), ("response_body", rule.response_body)):
        message = method.input_type if kind == "body" else method.output_type
        if name and name not in message.fields_by_name and (kind, name) != ("body", ALL):
            raise TemplateFault(f"{path!r}: {kind} {name!r} is no field of {message.full_name}")
    return Route(method, policy, http_method, parse_template(path), rule.body, rule.response_body, number)


class Binding:
    """Makes request messages of one route, and JSON of its answers."""

    __slots__ = ("_body", "_codec", "_message_class", "_query", "_variables", "encode", "route")

    def __init__(self, route: Route, codecs: Codecs) -> None:
        """Compiles the route.

        Raises:
            ContractFault: a path variable or the body is no field that could be bound so.
        """
        self.route = route
        request = route.method.input_type
        self._message_class: type[Message] = message_factory.GetMessageClass(request)
        self._codec = codecs.of(request)
        self._variables = [self._variable(request, each.field_path, codecs) for each in route.template.variables]
        self._body: Callable[[Any, bytes], None] | None = self._body_reader(request)
        self._query = QueryReader(None if route.body == ALL else request, codecs, route.bound)
        self.encode: Callable[[Any], bytes] = self._encoder(codecs)

    def request(self, values: Sequence[str], query: bytes, body: bytes) -> Message:
        """The request message. `body` is not looked at where the route takes none.

        Raises:
            InvalidRequest: naming the field that does not fit.
        """
        message = self._message_class()
        for variable, text in zip(self._variables, values, strict=True):
            _bind(variable, message, text)
        if self._body is not None:
            # After the path: what the body says replaces it, so that a difference shows, be it to zero.
            said = [variable.value(message) for variable in self._variables]
            self._body(message, body)
            for variable, before in zip(self._variables, said, strict=True):
                if variable.value(message) != before:
                    raise InvalidRequest.of(variable.json_path, "differs from the path")
        if query:
            self._query.read(query, message)
        return message

    def _variable(self, request: Descriptor, field_path: str, codecs: Codecs) -> Parameter:
        path = tuple(field_path.split("."))
        parameter = parameter_at(request, path, codecs)
        if parameter is None or parameter.is_repeated or parameter.path != path:  # the contract uses names of the proto
            raise ContractFault(f"{self._where}: {field_path} is no single field that a path can hold")
        return parameter

    def _body_reader(self, request: Descriptor) -> Callable[[Any, bytes], None] | None:
        name = self.route.body
        if not name:
            return None
        if name == ALL:
            return lambda message, body: self._codec.decode(body or b"{}", message)
        json_name = request.fields_by_name[name].json_name

        def read(message: Any, body: bytes) -> None:
            try:
                self._codec.merge(message, {json_name: parse_json(body)}, 0)
            except Misfit as misfit:
                raise misfit.refusal() from None

        return read

    def _encoder(self, codecs: Codecs) -> Callable[[Any], bytes]:
        name = self.route.response_body
        if not name:
            return codecs.of(self.route.method.output_type).encode
        write = make_write(self.route.method.output_type.fields_by_name[name], codecs)
        return lambda message: write(getattr(message, name)).encode()

    @property
    def _where(self) -> str:
        return f"{self.route.policy.name}: {self.route.template.text!r}"


def _bind(variable: Parameter, message: Any, text: str) -> None:
    try:
        variable.set(message, text)
    except Misfit as misfit:
        raise misfit.refusal() from None
