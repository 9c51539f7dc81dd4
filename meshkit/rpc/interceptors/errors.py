"""Second stage: what a call ends with when it does not end well, and the one line that the log gets."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog

from meshkit.core.errors import InternalError, Kind, MeshError, Unavailable
from meshkit.rpc.status import announced_bytes, to_wire

_log = structlog.get_logger("meshkit.rpc")


def judge(
    fault: BaseException, context: grpc.aio.ServicerContext[Any, Any], method: str
) -> tuple[str, MeshError | None]:
    """The call's status code, and the error that the caller sees; None if the fault must be raised on as it is.

    Raised on are a cancellation from outside (the caller is gone or its deadline passed: swallowing it would leak
    memory with every cancelled stream, grpc#43360) and grpc's own abort. Everything is logged here, once; refusals at
    debug level, because they are the caller's business, come in floods and are counted by the metrics.
    """
    if isinstance(fault, MeshError) and fault.kind is not Kind.INTERNAL:
        log = _log.warning if fault.kind is Kind.UNAVAILABLE else _log.debug
        log("call refused", rpc_method=method, reason=fault.reason, message=fault.message)
        return fault.meaning.grpc_status, fault
    if isinstance(fault, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return ("DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"), None
        # Something that the handler awaited was cancelled behind its back. Raised on, grpc would take it for the
        # caller's own cancellation and never answer.
        _log.error("call interrupted", rpc_method=method, exc_info=fault)
        return "UNAVAILABLE", Unavailable("the work was interrupted")
    if isinstance(fault, grpc.aio.AbortError):
        return _name_of(context.code()), None
    _log.error("call failed", rpc_method=method, exc_info=fault)
    return "INTERNAL", InternalError("internal error")


def _name_of(code: object) -> str:
    """grpc.aio gives the code as the enumeration's first value."""
    return next((each.name for each in grpc.StatusCode if code in (each, each.value[0])), "UNKNOWN")


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: MeshError) -> NoReturn:
    """Ends the call with this error, in as much detail as the caller takes."""
    room_bytes = announced_bytes(context.invocation_metadata() or ())
    code, message, trailing_metadata = to_wire(error, details_bytes_max=room_bytes)
    await context.abort(code, message, trailing_metadata)
