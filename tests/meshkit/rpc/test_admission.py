"""What is let through to a servicer method, over a real connection."""
# ruff: noqa: ANN401 — messages of a service that is put together at run time have no type

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from meshkit.core.errors import DeadlineExceeded, FieldViolation, InvalidRequest, MissingScope, Unauthenticated
from meshkit.core.principal import ANONYMOUS
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.channel import DEADLINE_MARGIN_SECONDS, for_caller
from meshkit.rpc.tokens import ServiceTokens
from tests.channels import connected
from tests.meshkit.rpc.echo import EchoRequest, EchoResponse, EchoStub, Stack, echo_stack, principal


async def test_call_with_the_scope_reaches_the_method(stack: Stack) -> None:
    async with stack.channel() as channel:
        reply = await EchoStub(channel).Echo(EchoRequest(text="hello"))
    assert reply.text == "hello"
    assert stack.servicer.calls[0].principal == principal()
    assert stack.servicer.calls[0].peer.startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "a bearer token is needed"),
        ("x", "the token is malformed or signed by an unknown key or algorithm"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "the token is malformed or signed by an unknown key or algorithm"),
    ],
)
async def test_bad_token_is_refused_before_the_method(stack: Stack, token: str, message: str) -> None:
    async with stack.channel(token) as channel:
        with pytest.raises(Unauthenticated) as raised:
            await EchoStub(channel).Echo(EchoRequest())
    assert raised.value.message == message
    assert stack.servicer.calls == []


async def test_expired_token_is_refused(stack: Stack) -> None:
    expired = stack.issuer.issue(subject="user:ada", client_id="x", scopes=frozenset(), lifetime_seconds=0)
    async with stack.channel(expired) as channel:
        with pytest.raises(Unauthenticated, match="the token has expired"):
            await EchoStub(channel).Echo(EchoRequest())


async def test_call_without_any_token_is_refused(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await EchoStub(channel).Echo(EchoRequest())
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", ["Echo", "Follow"])
async def test_missing_scope_is_refused_and_named(stack: Stack, method: str) -> None:
    token = stack.issuer.issue(subject="user:ada", client_id="webshop", scopes=frozenset({"other"}))
    async with stack.channel(token) as channel:
        call = getattr(EchoStub(channel), method)(EchoRequest())
        with pytest.raises(MissingScope) as raised:
            await (call if method == "Echo" else anext(aiter(call)))
    assert dict(raised.value.metadata) == {"scopes": "echo.read"}
    assert stack.servicer.calls == []


async def test_scopes_of_the_end_principal_count_not_those_of_the_service(stack: Stack) -> None:
    tokens = ServiceTokens(stack.issuer, service="edge", scopes=frozenset({"echo.read"}))
    async with stack.channel(tokens.token_for(principal(scopes=frozenset()))) as channel:
        with pytest.raises(MissingScope):
            await EchoStub(channel).Echo(EchoRequest())


async def test_public_method_needs_no_token_and_gives_bytes_as_they_are(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        reply = await EchoStub(channel).Greet(EchoRequest(text="ada"))
    assert reply.text == "hello ada"
    assert stack.servicer.calls[0].principal == ANONYMOUS


async def test_every_wrong_field_is_named_by_its_path(stack: Stack) -> None:
    request = EchoRequest(text="a\0b")
    for quantity in (1, 0, 5, -1):
        request.lines.add(quantity=quantity)
    async with stack.channel() as channel:
        with pytest.raises(InvalidRequest) as raised:
            await EchoStub(channel).Echo(request)
    assert raised.value.violations == (
        FieldViolation("text", r"does not match regex pattern `^[^\x00-\x1f\x7f]*$`"),
        FieldViolation("lines[1].quantity", "must be greater than 0"),
        FieldViolation("lines[3].quantity", "must be greater than 0"),
    )
    assert dict(raised.value.metadata) == {"violations": "3"}


async def test_ten_thousand_wrong_lines_still_give_a_readable_error(stack: Stack) -> None:
    request = EchoRequest()
    for _ in range(10_000):
        request.lines.add(quantity=0)
    async with stack.bare_channel() as channel:  # with a client's usual bound on metadata, 8 KiB
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await EchoStub(channel).Echo(request, metadata=stack.authorization)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "lines[0].quantity: must be greater than 0 (and perhaps more)"


async def test_body_above_the_methods_limit_is_refused(stack: Stack) -> None:
    request = EchoRequest(filler=b"x" * 65536)
    async with stack.channel() as channel:
        with pytest.raises(InvalidRequest) as raised:
            await EchoStub(channel).Echo(request)
    assert dict(raised.value.metadata) == {"body_bytes": str(request.ByteSize()), "body_limit_bytes": "65536"}


async def test_body_that_is_no_message_is_refused(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        call: Any = channel.unary_unary("/meshtest.echo.v1.EchoService/Echo")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"\xff\xff", metadata=stack.authorization)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the body is not a meshtest.echo.v1.EchoRequest"


async def test_messages_up_to_16_mib_pass_both_ways(stack: Stack) -> None:
    text = "x" * (16 * 1024 * 1024 - 64)
    async with stack.channel() as channel:
        reply = await EchoStub(channel).Greet(EchoRequest(text=text), timeout=30)
    assert len(reply.text) == len(text) + len("hello ")


async def test_unknown_method_is_unimplemented_and_counted_as_other(stack: Stack) -> None:
    async with stack.bare_channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await EchoStub(channel).Missing(EchoRequest())
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await stack.until_idle()
    count = 'rpc_server_call_duration_seconds_count{rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED"} 1.0'
    assert count in stack.metrics.expose().decode()


async def test_call_with_less_time_than_the_margin_is_refused_unbegun(tmp_path: Path) -> None:
    async with echo_stack(tmp_path, deadline_margin_seconds=5.0) as stack, stack.channel() as channel:
        with pytest.raises(DeadlineExceeded, match="too little time is left to begin"):
            await EchoStub(channel).Echo(EchoRequest(), timeout=2.0)
        assert stack.servicer.calls == []


async def test_method_learns_the_callers_deadline(stack: Stack) -> None:
    async with stack.channel() as channel:
        before = asyncio.get_running_loop().time()
        await EchoStub(channel).Echo(EchoRequest(), timeout=60.0)
    deadline = stack.servicer.calls[0].deadline
    assert deadline is not None
    assert before + 55 < deadline < before + 61


async def test_unary_call_without_a_deadline_gets_the_default_and_is_held_to_it(tmp_path: Path) -> None:
    async def wait_for_ever(_request: Any, _call: Call) -> Any:
        await asyncio.Event().wait()

    async with echo_stack(tmp_path, deadline_seconds_default=0.05) as stack, stack.bare_channel() as channel:
        stack.servicer.echo = wait_for_ever
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await EchoStub(channel).Echo(EchoRequest(), metadata=stack.authorization)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_stream_without_a_deadline_stays_without(stack: Stack) -> None:
    async with stack.channel() as channel:
        texts = [reply.text async for reply in EchoStub(channel).Follow(EchoRequest())]
    assert texts == ["one", "two", "three"]
    assert stack.servicer.calls[0].deadline is None


async def test_outgoing_call_has_no_more_time_than_the_call_it_serves(tmp_path: Path, stack: Stack) -> None:
    async with echo_stack(tmp_path / "inner") as inner, inner.channel() as to_inner:

        async def ask_on(request: Any, _call: Call) -> Any:
            return EchoResponse(text=(await EchoStub(to_inner).Echo(request)).text)

        stack.servicer.echo = ask_on
        async with stack.channel() as channel:
            before = asyncio.get_running_loop().time()
            await EchoStub(channel).Echo(EchoRequest(), timeout=2.0)
        deadline = inner.servicer.calls[0].deadline
        assert deadline is not None
        assert deadline < before + 8  # its own default would be ten seconds
        assert inner.servicer.calls[0].traceparent[3:35] == stack.servicer.calls[0].traceparent[3:35]


async def test_outgoing_call_is_not_sent_when_no_time_is_left(tmp_path: Path, stack: Stack) -> None:
    async with echo_stack(tmp_path / "inner") as inner, inner.channel() as to_inner:

        async def ask_on_too_late(request: Any, call: Call) -> Any:
            assert call.deadline is not None
            late = call._replace(deadline=asyncio.get_running_loop().time() + DEADLINE_MARGIN_SECONDS)
            current_call.set(late)
            await EchoStub(to_inner).Echo(request)

        stack.servicer.echo = ask_on_too_late
        async with stack.channel() as channel:
            with pytest.raises(DeadlineExceeded, match="no time is left to ask another service"):
                await EchoStub(channel).Echo(EchoRequest())
        assert inner.servicer.calls == []


async def test_service_speaks_for_the_caller_that_it_serves(tmp_path: Path, stack: Stack) -> None:
    async with echo_stack(tmp_path / "inner") as inner:
        tokens = ServiceTokens(inner.issuer, service="edge")
        async with connected(inner.target, token=for_caller(tokens)) as to_inner:

            async def ask_on(request: Any, _call: Call) -> Any:
                return EchoResponse(text=(await EchoStub(to_inner).Echo(request)).text)

            stack.servicer.echo = ask_on
            async with stack.channel() as channel:
                await EchoStub(channel).Echo(EchoRequest())
        assert inner.servicer.calls[0].principal == replace(principal(), via="service:edge")
