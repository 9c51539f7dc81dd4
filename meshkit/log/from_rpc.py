"""How a call becomes a command: the same for every service whose RPCs write through the log."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from beautymesh.common.v1 import context_pb2
from meshkit.core.decision import Origin
from meshkit.log.fingerprint import fingerprint
from meshkit.log.model import B, Command, Fence
from meshkit.rpc.call import Call


class CommandRequest(Protocol):
    """A request that changes something: every such message of the contract has these two fields."""

    @property
    def request_id(self) -> str:
        """Chosen by the caller."""
        ...

    @property
    def context(self) -> context_pb2.CommandContext:
        """What accompanies the command."""
        ...


def command_from(request: CommandRequest, call: Call, body: B, *, key: bytes, weight: int = 1) -> Command[B]:
    """The command that `body` is on behalf of the caller.

    `key` is the log's fingerprint key, `weight` how many rows the command may touch.
    """
    assert isinstance(request, Message)
    fence = None
    if request.HasField("context") and request.context.HasField("saga"):
        fence = Fence(request.context.saga.saga_id, request.context.saga.fence)
    return Command(
        body=body,
        method=call.policy.name,
        request_id=request.request_id,
        origin=Origin(
            principal=call.principal.subject,
            client_id=call.principal.client_id,
            traceparent=call.traceparent,
            reference=request.context.reference,
            locations=call.principal.locations,
        ),
        fingerprint=fingerprint(request, key=key),
        field_names=_field_names(request.DESCRIPTOR),
        weight=weight,
        fence=fence,
        deadline=call.deadline,
    )


@cache
def _field_names(descriptor: Descriptor) -> dict[int, str]:
    return {field.number: field.name for field in descriptor.fields}
