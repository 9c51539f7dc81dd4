"""How requests reach a service: over a channel to another process, or by a call in this one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from edge_gateway.rest.exchange import Exchange, Handler, StreamHandler, UnaryHandler
from meshkit.rpc.channel import MeshChannel, ReplyStream
from meshkit.rpc.interceptors.validation import Validation
from meshkit.rpc.options import ContractFault, RpcPolicy, read_policies


def remote_handlers(channel: MeshChannel, service: ServiceDescriptor) -> dict[str, Handler]:
    """Handlers, by full method, that ask a service of the mesh, which checks the request itself.

    The call that is being answered gives deadline, principal and trace context: the channel takes them from there.
    """
    handlers: dict[str, Handler] = {}
    for method in service.methods:
        full_method = f"/{service.full_name}/{method.name}"
        make = _remote_stream if method.server_streaming else _remote_unary
        handlers[full_method] = make(channel, full_method, method)
    return handlers


def _remote_unary(channel: MeshChannel, full_method: str, method: MethodDescriptor) -> UnaryHandler:
    ask = channel.unary_unary(
        full_method,
        request_serializer=_serialize,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )

    async def handle(request: Message, _exchange: Exchange) -> Message:
        reply: Message = await ask(request)
        return reply

    return handle


def _remote_stream(channel: MeshChannel, full_method: str, _method: MethodDescriptor) -> StreamHandler:
    ask = channel.unary_stream(full_method, request_serializer=_serialize, response_deserializer=None)

    async def handle(request: Message, _exchange: Exchange) -> AsyncGenerator[bytes, None]:
        stream: ReplyStream = ask(request)
        async with aclosing(aiter(stream)) as replies:  # type: ignore[type-var]  # an async generator, said as iterator
            async for reply in replies:
                yield reply

    return handle


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def local_handlers(service: ServiceDescriptor, servicer: object) -> dict[str, Handler]:
    """Handlers, by full method, that call a servicer of this process after the same checks as a server's.

    Raises:
        ContractFault: the servicer lacks a method, or a rule of the contract cannot be compiled.
    """
    validator = Validator()
    handlers: dict[str, Handler] = {}
    for full_method, policy in read_policies([service]).items():
        method = service.methods_by_name[full_method.rpartition("/")[2]]
        implementation: Any = getattr(servicer, method.name, None)
        if implementation is None:
            raise ContractFault(f"{policy.name}: {type(servicer).__name__}.{method.name} is missing")
        make = _local_stream if method.server_streaming else _local_unary
        handlers[full_method] = make(implementation, _validation(policy, method, validator))
    return handlers


def _validation(policy: RpcPolicy, method: MethodDescriptor, validator: Validator) -> Validation[Message]:
    return Validation(policy, message_factory.GetMessageClass(method.input_type), validator)


def _local_unary(implementation: Any, validation: Validation[Message]) -> UnaryHandler:  # noqa: ANN401 — by name
    async def handle(request: Message, exchange: Exchange) -> Message:
        validation.check(request)
        reply: Message = await implementation(request, exchange.call)
        return reply

    return handle


def _local_stream(implementation: Any, validation: Validation[Message]) -> StreamHandler:  # noqa: ANN401 — by name
    async def handle(request: Message, exchange: Exchange) -> AsyncGenerator[Message | bytes, None]:
        validation.check(request)
        async with aclosing(implementation(request, exchange.call)) as replies:
            async for reply in replies:
                yield reply

    return handle
