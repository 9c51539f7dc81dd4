"""What a servicer method knows about the call that it answers, and how code below it finds that call."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import grpc.aio

from meshkit.core.principal import Principal
from meshkit.rpc.options import RpcPolicy


class Call(NamedTuple):
    """One call as the interceptors admitted it: a tuple, which is made in a third of a frozen dataclass's time.

    `deadline` is in the event loop's time (`loop.time()`), None for a stream whose caller set none. `traceparent` is
    the W3C form of this call's own span. `peer` is the caller's address as grpc writes it (`ipv4:127.0.0.1:4711`), for
    logs only: it proves nothing. `context` is grpc's, for what is rare (trailing metadata); None where the call did not
    come by gRPC. It must not be touched once the method has ended: grpc has freed the call by then, and the process
    would crash.
    """

    policy: RpcPolicy
    principal: Principal
    deadline: float | None
    traceparent: str
    peer: str
    context: grpc.aio.ServicerContext[Any, Any] | None


current_call: Final[ContextVar[Call | None]] = ContextVar("current_call", default=None)
"""The call that this task works for. Channels take the deadline and the principal of outgoing calls from it."""
