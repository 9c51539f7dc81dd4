"""What stands between the wire and a servicer method, in one order for every method of every service.

    telemetry → errors → deadline → auth → validation → the method

* telemetry is outermost, so that it measures refusals too;
* errors turns whatever is raised below it into a status, and is the only one that does;
* deadline comes before auth and validation, which cost time that a late call no longer has;
* auth comes before validation: who may not call learns nothing about the request's rules.

The stages are called from two straight-line coroutines, one for unary calls and one for streams, made once for each
method: cheaper than a chain of `grpc.aio.ServerInterceptor`, and the health and reflection services of others get the
same. Methods get bytes from grpc and give bytes back, so parsing and serialising stand inside the errors stage as well,
and a method may answer with bytes that it has already.
"""
# ruff: noqa: ANN401 — at this seam messages are of any type: grpc's own signatures say so

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from protovalidate import Validator

from meshkit.core.errors import DeadlineExceeded, Kind, MeshError, Unavailable
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.interceptors.auth import Authentication
from meshkit.rpc.interceptors.deadline import Deadlines
from meshkit.rpc.interceptors.errors import abort, judge
from meshkit.rpc.interceptors.telemetry import MethodTelemetry, Observation
from meshkit.rpc.interceptors.validation import Validation
from meshkit.rpc.options import RpcPolicy
from meshkit.rpc.status import class_for
from meshkit.rpc.tokens import TokenVerifier
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Reply: TypeAlias = Message | bytes
UnaryMethod: TypeAlias = Callable[[RequestT, Call], Awaitable[Reply]]
StreamMethod: TypeAlias = Callable[[RequestT, Call], AsyncGenerator[Reply, None]]


class Interceptors:
    """Wraps servicer methods into grpc handlers."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier | None,
        metrics: Metrics,
        tracing: Tracing,
        deadline_seconds_default: float = 10.0,
        deadline_margin_seconds: float = 0.002,
    ) -> None:
        """See the stages for what each argument does."""
        self._metrics = metrics
        self._tracing = tracing
        self._deadlines = Deadlines(default_seconds=deadline_seconds_default, margin_seconds=deadline_margin_seconds)
        self._authentication = Authentication(verifier)
        self._validator = Validator()
        self._open_calls: set[asyncio.Timeout] = set()

    def end_open_calls(self) -> None:
        """Ends the calls of others' services with UNAVAILABLE: a health watch would never end by itself."""
        now = asyncio.get_running_loop().time()
        for limit in self._open_calls:
            limit.reschedule(now)

    def unary(
        self, policy: RpcPolicy, request_class: type[RequestT], method: UnaryMethod[RequestT]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler that answers one request with one message."""
        admission = self._admission(policy, request_class)

        async def answer(body: bytes, context: Context) -> bytes:
            observation, authorization = admission.begin(context)
            code = "OK"
            try:
                call, request, ours_to_enforce = admission.admit(body, context, observation, authorization)
                if ours_to_enforce:
                    late = DeadlineExceeded("the deadline that applies to calls without one passed")
                    reply = await _within(asyncio.timeout_at(call.deadline), method(request, call), late)
                else:
                    reply = await method(request, call)
                return reply if isinstance(reply, bytes) else reply.SerializeToString()
            except (Exception, asyncio.CancelledError) as fault:
                code, error = judge(fault, context, policy.name)
                if error is None:
                    raise
                await abort(context, error)
            finally:
                observation.end(code)

        return grpc.unary_unary_rpc_method_handler(answer)

    def stream(
        self, policy: RpcPolicy, request_class: type[RequestT], method: StreamMethod[RequestT]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler that answers one request with many messages."""
        admission = self._admission(policy, request_class)

        async def answer(body: bytes, context: Context) -> None:
            observation, authorization = admission.begin(context)
            code = "OK"
            try:
                call, request, _ = admission.admit(body, context, observation, authorization)
                # `aclosing`: a caller that goes away while we write must not leave the generator to the garbage
                # collector, whose hook would end it at some other time in some other task.
                async with aclosing(method(request, call)) as replies:
                    async for reply in replies:
                        await context.write(reply if isinstance(reply, bytes) else reply.SerializeToString())
                        observation.span.end("OK")  # a long stream's span covers its opening only
            except (Exception, asyncio.CancelledError) as fault:
                code, error = judge(fault, context, policy.name)
                if error is None:
                    raise
                await abort(context, error)
            finally:
                observation.end(code)

        return grpc.unary_stream_rpc_method_handler(answer)

    def open(self, policy: RpcPolicy, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler of another's service (health, reflection), with telemetry and errors around it."""
        method = cast("_OpenMethod", handler.unary_unary or handler.unary_stream or handler.stream_stream)
        telemetry = MethodTelemetry(policy.name, self._metrics, self._tracing)

        async def reply(request: Any, context: Context) -> Any:
            # A server stream may be a generator, or a coroutine that writes to the context, as health's is.
            replies = method(request, context)
            if not isinstance(replies, AsyncGenerator):
                return await replies
            async with aclosing(replies):
                async for each in replies:
                    await context.write(each)
            return None

        async def answer(request: Any, context: Context) -> Any:
            observation, _ = _begin(telemetry, context)
            limit = asyncio.timeout(None)
            self._open_calls.add(limit)
            code = "OK"
            try:
                return await _within(limit, reply(request, context), Unavailable("the server is going away"))
            except (Exception, asyncio.CancelledError) as fault:
                code, error = judge(fault, context, policy.name)
                if error is None:
                    raise
                await abort(context, error)
            finally:
                self._open_calls.discard(limit)
                observation.end(code)

        if handler.unary_unary:
            make = grpc.unary_unary_rpc_method_handler
        elif handler.unary_stream:
            make = grpc.unary_stream_rpc_method_handler
        else:
            make = grpc.stream_stream_rpc_method_handler
        return make(answer, handler.request_deserializer, handler.response_serializer)

    def unknown(self) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler for whatever nobody serves. One metric for all: the names are the callers', without bound."""
        telemetry = MethodTelemetry("_OTHER", self._metrics, self._tracing)

        async def answer(_requests: Any, context: Context) -> None:
            observation, _ = _begin(telemetry, context)
            try:
                await abort(context, class_for(Kind.UNIMPLEMENTED, "UNIMPLEMENTED")("there is no such method"))
            finally:
                observation.end("UNIMPLEMENTED")

        # The widest shape, because the caller's is not known; it ends before a request is read.
        return grpc.stream_stream_rpc_method_handler(answer)

    def _admission(self, policy: RpcPolicy, request_class: type[RequestT]) -> _Admission[RequestT]:
        return _Admission(
            policy,
            MethodTelemetry(policy.name, self._metrics, self._tracing),
            self._deadlines,
            self._authentication,
            Validation(policy, request_class, self._validator),
        )


_OpenMethod: TypeAlias = Callable[[Any, Context], Awaitable[Any] | AsyncGenerator[Any, None]]


class _Admission(Generic[RequestT]):
    """The stages of one method, up to the method itself."""

    __slots__ = ("_authentication", "_deadlines", "_policy", "_telemetry", "_validation")

    def __init__(
        self,
        policy: RpcPolicy,
        telemetry: MethodTelemetry,
        deadlines: Deadlines,
        authentication: Authentication,
        validation: Validation[RequestT],
    ) -> None:
        self._policy = policy
        self._telemetry = telemetry
        self._deadlines = deadlines
        self._authentication = authentication
        self._validation = validation

    def begin(self, context: Context) -> tuple[Observation, str]:
        return _begin(self._telemetry, context)

    def admit(
        self, body: bytes, context: Context, observation: Observation, authorization: str
    ) -> tuple[Call, RequestT, bool]:
        """The call, its request, and whether the deadline is ours to enforce."""
        policy = self._policy
        deadline, ours_to_enforce = self._deadlines.admit(
            context, asyncio.get_running_loop().time(), streaming=policy.server_streaming
        )
        principal = self._authentication.admit(policy, authorization)
        request = self._validation.parse(body)
        call = Call(policy, principal, deadline, observation.span.traceparent, context.peer(), context)
        current_call.set(call)  # never reset: grpc runs every call in a task, and so in a context, of its own
        return call, request, ours_to_enforce


def _begin(telemetry: MethodTelemetry, context: Context) -> tuple[Observation, str]:
    authorization = traceparent = ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            authorization = cast("str", value)
        elif key == "traceparent":
            traceparent = cast("str", value)
    return telemetry.begin(traceparent), authorization


async def _within(limit: asyncio.Timeout, reply: Awaitable[ReplyT], late: MeshError) -> ReplyT:
    """What it gives, or `late` raised once the limit is reached."""
    try:
        async with limit:
            return await reply
    except TimeoutError:
        if limit.expired():
            raise late from None
        raise
