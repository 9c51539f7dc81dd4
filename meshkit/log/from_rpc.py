"""How a call becomes a command: the same for every service whose RPCs write through the log."""

from __future__ import annotations

from functools import cache
from typing import Final, Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from beautymesh.common.v1 import context_pb2
from meshkit.core.decision import Origin
from meshkit.core.errors import InvalidRequest
from meshkit.log.fingerprint import fingerprint
from meshkit.log.model import B, Command, Fence
from meshkit.rpc.call import Call

SAGA_PREFIX: Final = "saga:"
"""How request ids of sagas begin, and no others: a client must not take one that a step of its checkout will need."""


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

    Raises:
        InvalidRequest: it speaks for a saga, and does not come from a service of the mesh.
    """
    assert isinstance(request, Message)
    fence = _fence(request, call)
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


def step_request_id(owner_id: str, step: str) -> str:
    """The request id of a saga's step; `owner_id` names the thing that the step is about."""
    return f"{SAGA_PREFIX}{owner_id}:{step}"


def _fence(request: CommandRequest, call: Call) -> Fence | None:
    """The saga that the command is a step of.

    A fence bars everybody below it, so who may send one can stop any saga whose id is known: services only. The edge
    takes none from outside (`internal` in the contract), because it speaks for its callers as a service itself.
    """
    assert isinstance(request, Message)
    if not (request.HasField("context") and request.context.HasField("saga")):
        if request.request_id.startswith(SAGA_PREFIX):
            raise InvalidRequest.of("request_id", f"must not begin with {SAGA_PREFIX} outside a saga")
        return None
    if not call.principal.is_service:
        raise InvalidRequest.of("context.saga", "is for services of the mesh")
    return Fence(request.context.saga.saga_id, request.context.saga.fence)


@cache
def _field_names(descriptor: Descriptor) -> dict[int, str]:
    return {field.number: field.name for field in descriptor.fields}
