# ruff: noqa: ANN401 — messages of a service that is put together at run time have no type
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.rest.exchange import Exchange
from edge_gateway.rest.remote import local_handlers, remote_handlers
from meshkit.core.errors import DeadlineExceeded, InvalidRequest, MissingScope, TooManyRequests
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.channel import for_caller
from meshkit.rpc.options import ContractFault, read_policies
from meshkit.rpc.tokens import ServiceTokens
from tests.channels import connected
from tests.meshkit.rpc.echo import ECHO, EchoRequest, EchoResponse, EchoServicer, echo_stack, principal

NAME = f"/{ECHO.full_name}"


def exchange(rpc: str = "Echo", *, seconds: float = 5.0, **of_principal: Any) -> Exchange:
    policy = read_policies([ECHO])[f"{NAME}/{rpc}"]
    deadline = asyncio.get_running_loop().time() + seconds
    return Exchange(Call(policy, principal(**of_principal), deadline, "", "", None), no_cache=False)


async def call(handler: Any, request: Any, made: Exchange) -> Any:
    mark = current_call.set(made.call)
    try:
        return await handler(request, made)
    finally:
        current_call.reset(mark)


class TestRemote:
    async def test_service_answers_on_the_callers_authority_within_its_deadline(self, tmp_path: Path) -> None:
        async with echo_stack(tmp_path) as stack:
            tokens = ServiceTokens(stack.issuer, service="edge")
            async with connected(stack.target, services=[ECHO], token=for_caller(tokens)) as channel:
                handlers = remote_handlers(channel, ECHO)
                reply = await call(handlers[f"{NAME}/Echo"], EchoRequest(text="hello"), exchange())
                assert reply == EchoResponse(text="hello")
                seen = stack.servicer.calls[0]
                assert (seen.principal.subject, seen.principal.via) == ("user:ada", "service:edge")
                with pytest.raises(MissingScope):
                    await call(handlers[f"{NAME}/Echo"], EchoRequest(), exchange(scopes=frozenset()))
                with pytest.raises(InvalidRequest) as refused:
                    await call(handlers[f"{NAME}/Echo"], EchoRequest(lines=[{"quantity": 0}]), exchange())
                assert refused.value.violations[0].field == "lines[0].quantity"
                with pytest.raises(DeadlineExceeded):
                    await call(handlers[f"{NAME}/Echo"], EchoRequest(), exchange(seconds=0.0))
                assert len(stack.servicer.calls) == 1

    async def test_stream_is_left_as_bytes(self, tmp_path: Path) -> None:
        async with echo_stack(tmp_path) as stack, stack.channel() as channel:
            handler: Any = remote_handlers(channel, ECHO)[f"{NAME}/Follow"]
            replies = [reply async for reply in handler(EchoRequest(), exchange("Follow"))]
            assert replies == [EchoResponse(text=each).SerializeToString() for each in ("one", "two", "three")]

    async def test_stream_that_is_left_is_cancelled_at_the_service(self, tmp_path: Path) -> None:
        ended = asyncio.Event()

        async def endless(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
            try:
                yield EchoResponse(text="first")
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with echo_stack(tmp_path) as stack, stack.channel() as channel:
            stack.servicer.follow = endless
            handler: Any = remote_handlers(channel, ECHO)[f"{NAME}/Follow"]
            stream = handler(EchoRequest(), exchange("Follow"))
            await anext(stream)
            await stream.aclose()
            await ended.wait()
            await stack.until_idle()


class TestLocal:
    async def test_servicer_is_called_with_what_was_admitted(self) -> None:
        servicer = EchoServicer()
        made = exchange()
        reply = await call(local_handlers(ECHO, servicer)[f"{NAME}/Echo"], EchoRequest(text="hello"), made)
        assert (reply, servicer.calls) == (EchoResponse(text="hello"), [made.call])

    async def test_request_is_checked_first(self) -> None:
        servicer = EchoServicer()
        handlers = local_handlers(ECHO, servicer)
        for rpc in ("Echo", "Greet"):
            with pytest.raises(InvalidRequest) as refused:
                await call(handlers[f"{NAME}/{rpc}"], EchoRequest(text="a\x00b"), exchange(rpc))
            assert refused.value.violations[0].field == "text"
        with pytest.raises(InvalidRequest):
            await anext(handlers[f"{NAME}/Follow"](EchoRequest(text="\x7f"), exchange("Follow")))  # type: ignore[arg-type]  # a stream's
        assert servicer.calls == []

    async def test_stream_is_passed_on_and_closed(self) -> None:
        closed = asyncio.Event()

        async def follow(_request: Any, _call: Call) -> AsyncGenerator[Any, None]:
            try:
                yield EchoResponse(text="one")
                raise TooManyRequests("full")
            finally:
                closed.set()

        stream: Any = local_handlers(ECHO, EchoServicer(follow=follow))[f"{NAME}/Follow"]
        replies = stream(EchoRequest(), exchange("Follow"))
        assert await anext(replies) == EchoResponse(text="one")
        with pytest.raises(TooManyRequests):
            await anext(replies)
        assert closed.is_set()

    def test_servicer_without_a_method_is_a_fault(self) -> None:
        with pytest.raises(ContractFault) as refused:
            local_handlers(ECHO, object())
        assert str(refused.value) == f"{ECHO.full_name}/Echo: object.Echo is missing"
