"""What a caller sees of a fault, over a real connection."""
# ruff: noqa: ANN401 — messages of a service that is put together at run time have no type

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from meshkit.core.errors import (
    FieldViolation,
    InternalError,
    InvalidRequest,
    Kind,
    MeshError,
    TooManyRequests,
    Unavailable,
)
from meshkit.rpc.call import Call
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.status import (
    DETAILS_BYTES_DEFAULT,
    DETAILS_BYTES_KEY,
    announced_bytes,
    class_for,
    from_rpc_error,
    to_wire,
)
from tests.channels import connected
from tests.meshkit.rpc.echo import EchoRequest, EchoStub, Stack


class ShelfBroken(MeshError):
    kind = Kind.REFUSED
    reason = "SHELF_BROKEN"


def raising(error: BaseException) -> Any:
    async def behave(_request: Any, _call: Call) -> Any:
        raise error

    return behave


def raising_in_stream(error: BaseException) -> Any:
    async def behave(_request: Any, _call: Call) -> AsyncGenerator[bytes, None]:
        yield b""
        raise error

    return behave


async def raised_over_the_wire(stack: Stack, error: BaseException) -> MeshError:
    stack.servicer.echo = raising(error)
    async with connected(stack.target, token=lambda: stack.token) as channel:
        with pytest.raises(MeshError) as raised:
            await EchoStub(channel).Echo(EchoRequest())
    return raised.value


async def test_error_arrives_as_the_class_that_was_raised(stack: Stack) -> None:
    arrived = await raised_over_the_wire(stack, ShelfBroken("the shelf broke", metadata={"shelf": "7", "ä": "ö"}))
    assert type(arrived) is ShelfBroken
    assert arrived.message == "the shelf broke"
    assert dict(arrived.metadata) == {"shelf": "7", "ä": "ö"}
    assert arrived.retry_seconds is None


async def test_violations_and_retry_advice_arrive(stack: Stack) -> None:
    sent = InvalidRequest("bad", violations=(FieldViolation("lines[3].quantity", "is odd"),), retry_seconds=1.25)
    arrived = await raised_over_the_wire(stack, sent)
    assert arrived.violations == sent.violations
    assert arrived.retry_seconds == 1.25


async def test_retry_advice_of_the_table_arrives(stack: Stack) -> None:
    assert (await raised_over_the_wire(stack, TooManyRequests("full"))).retry_seconds == 0.25


async def test_error_of_a_stream_arrives_after_its_messages(stack: Stack) -> None:
    stack.servicer.follow = raising_in_stream(ShelfBroken("the shelf broke"))
    async with stack.channel() as channel:
        replies = aiter(EchoStub(channel).Follow(EchoRequest()))
        assert (await anext(replies)).text == ""
        with pytest.raises(ShelfBroken):
            await anext(replies)


@pytest.mark.parametrize(
    "fault", [RuntimeError("password=hunter2"), InternalError("row 7 of table x"), TimeoutError("db"), KeyError("a")]
)
async def test_our_own_fault_shows_no_detail_and_is_logged_once(stack: Stack, fault: Exception) -> None:
    with capture_logs() as lines:
        arrived = await raised_over_the_wire(stack, fault)
    assert type(arrived) is InternalError
    assert (arrived.message, dict(arrived.metadata)) == ("internal error", {})
    errors = [line for line in lines if line["log_level"] == "error"]
    assert [(line["event"], line["exc_info"]) for line in errors] == [("call failed", fault)]


async def raised_to_a_plain_client(stack: Stack, error: BaseException, announced: str | None = None) -> MeshError:
    stack.servicer.echo = raising(error)
    metadata = stack.authorization + (((DETAILS_BYTES_KEY, announced),) if announced is not None else ())
    async with stack.bare_channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await EchoStub(channel).Echo(EchoRequest(), metadata=metadata)
    return from_rpc_error(raised.value)


MANY = {f"line_{number}": "x" * 40 for number in range(1000)}


async def test_metadata_too_large_for_a_plain_client_is_cut_not_lost(stack: Stack) -> None:
    arrived = await raised_to_a_plain_client(stack, ShelfBroken("m" * 5000, metadata=MANY))
    assert type(arrived) is ShelfBroken
    assert arrived.message == "m" * 500
    assert arrived.metadata["line_0"] == "x" * 40
    assert arrived.metadata["metadata_truncated"] == "true"


async def test_our_own_channel_takes_large_metadata_whole(stack: Stack) -> None:
    """As much as a shortage of 1,000 lines with the longest codes that are not all emoji."""
    large = MANY | {"large": "ä" * 400_000}
    arrived = await raised_over_the_wire(stack, ShelfBroken("broken", metadata=large))
    assert dict(arrived.metadata) == large


async def test_metadata_too_large_even_for_our_own_channel_is_cut(stack: Stack) -> None:
    arrived = await raised_over_the_wire(stack, ShelfBroken("broken", metadata=MANY | {"large": "x" * 1_100_000}))
    assert dict(arrived.metadata) == MANY | {"metadata_truncated": "true"}


async def test_our_own_stream_takes_large_metadata_whole(stack: Stack) -> None:
    stack.servicer.follow = raising_in_stream(ShelfBroken("broken", metadata=MANY))
    async with stack.channel() as channel:
        with pytest.raises(ShelfBroken) as raised:
            [_ async for _ in EchoStub(channel).Follow(EchoRequest())]
    assert dict(raised.value.metadata) == MANY


LINES = [{"sku": f"S-{number}", "name": "Rosé, [7]"} for number in range(200)]


async def test_of_a_json_array_that_does_not_fit_the_first_entries_are_kept_whole(stack: Stack) -> None:
    written = json.dumps(LINES, ensure_ascii=False, separators=(",", ":"))
    error = ShelfBroken("broken", metadata={"count": "200", "lines": written, "last": "never"})
    arrived = await raised_to_a_plain_client(stack, error)
    assert arrived.metadata.keys() == {"count", "lines", "metadata_truncated"}
    kept = json.loads(arrived.metadata["lines"])
    assert kept == LINES[: len(kept)]
    next_entry_bytes = len(json.dumps(LINES[len(kept)], ensure_ascii=False, separators=(",", ":")).encode()) + 1
    used_bytes = sum(len(key) + len(arrived.metadata[key].encode()) for key in ("count", "lines"))
    assert used_bytes <= 3 * 1024 < used_bytes + next_entry_bytes


@pytest.mark.parametrize("announced", ["", "-1", "1e9", "x", "9" * 10, "0", "5119", "٣٣٣٣"])
def test_room_that_is_not_announced_properly_is_the_default(announced: str) -> None:
    assert announced_bytes([(DETAILS_BYTES_KEY, announced)]) == DETAILS_BYTES_DEFAULT


@pytest.mark.parametrize(
    ("announced", "room_bytes"), [("5121", 5121), ("6000", 6000), ("1048576", 1_048_576), ("999999999", 1_048_576)]
)
def test_room_that_is_announced_is_used_up_to_the_servers_own_bound(announced: str, room_bytes: int) -> None:
    assert announced_bytes([("authorization", "x"), (DETAILS_BYTES_KEY, announced)]) == room_bytes


async def test_malformed_room_of_a_plain_client_is_the_default(stack: Stack) -> None:
    error = ShelfBroken("broken", metadata=MANY)
    plain = await raised_to_a_plain_client(stack, error)
    assert (await raised_to_a_plain_client(stack, error, announced="much")).metadata == plain.metadata


async def test_cancelled_work_that_the_caller_did_not_cancel_is_unavailable(stack: Stack) -> None:
    arrived = await raised_over_the_wire(stack, asyncio.CancelledError())
    assert type(arrived) is Unavailable
    assert arrived.message == "the work was interrupted"


async def test_cancelled_status_that_the_caller_did_not_cause_is_unavailable(stack: Stack) -> None:
    async def cancel(_request: Any, call: Call) -> Any:
        assert call.context is not None
        await call.context.abort(grpc.StatusCode.CANCELLED, "somewhere else")

    stack.servicer.echo = cancel
    async with connected(stack.target, token=lambda: stack.token) as channel:
        with pytest.raises(Unavailable):
            await EchoStub(channel).Echo(EchoRequest())


async def test_server_that_is_not_there_is_unavailable_and_only_the_traceback_knows_its_address() -> None:
    async with grpc_channel("127.0.0.1:1") as channel:
        with pytest.raises(Unavailable) as raised:
            await EchoStub(channel).Echo(EchoRequest(), timeout=5)
    assert raised.value.message == "the service cannot be reached"
    assert ["127.0.0.1:1" in note for note in raised.value.__notes__] == [True]
    assert "127.0.0.1" not in str(to_wire(raised.value))


async def test_caller_that_cancels_gets_its_own_cancellation_and_the_method_too(stack: Stack) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_ever(_request: Any, _call: Call) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stack.servicer.echo = wait_for_ever
    async with stack.channel() as channel:
        calling = asyncio.ensure_future(EchoStub(channel).Echo(EchoRequest()))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await ended.wait()
    await stack.until_idle()
    assert 'rpc_response_status_code="CANCELLED"} 1.0' in stack.metrics.expose().decode()


async def test_unavailable_is_tried_again_because_every_rpc_may_be_repeated(stack: Stack) -> None:
    tries = 0

    async def recover(request: Any, call: Call) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("not yet")
        return request.__class__(text="at last").SerializeToString()

    stack.servicer.echo = recover
    async with stack.channel() as channel:
        assert (await EchoStub(channel).Echo(EchoRequest())).text == "at last"
    assert tries == 3


async def test_refusal_is_not_tried_again(stack: Stack) -> None:
    stack.servicer.echo = raising(TooManyRequests("full"))
    async with stack.channel() as channel:
        with pytest.raises(TooManyRequests):
            await EchoStub(channel).Echo(EchoRequest())
    assert len(stack.servicer.calls) == 1


def test_reason_that_this_process_does_not_know_keeps_its_kind_and_reason() -> None:
    made = class_for(Kind.CONFLICT, "SOMETHING_NEW")
    assert (made.kind, made.reason, made.__name__) == (Kind.CONFLICT, "SOMETHING_NEW", "SomethingNew")
    assert class_for(Kind.CONFLICT, "SOMETHING_NEW") is made


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.CANCELLED, Kind.UNAVAILABLE),
        (grpc.StatusCode.UNKNOWN, Kind.INTERNAL),
        (grpc.StatusCode.DATA_LOSS, Kind.INTERNAL),
        (grpc.StatusCode.UNIMPLEMENTED, Kind.UNIMPLEMENTED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Kind.TOO_MANY),
        (grpc.StatusCode.PERMISSION_DENIED, Kind.FORBIDDEN),
    ],
)
def test_status_of_a_foreign_server_becomes_the_nearest_kind(code: grpc.StatusCode, kind: Kind) -> None:
    nothing = grpc.aio.Metadata()
    assert from_rpc_error(grpc.aio.AioRpcError(code, nothing, nothing, "10.0.0.1 said no")).kind is kind


def test_details_that_are_no_status_are_passed_over() -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailing, "")
    assert from_rpc_error(error).kind is Kind.NOT_FOUND
