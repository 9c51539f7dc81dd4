"""How a `MeshError` travels: to `google.rpc.Status` on the server, back to a `MeshError` on the client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Final

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from meshkit.core.errors import (
    TABLE,
    DeadlineExceeded,
    FieldViolation,
    InternalError,
    InvalidRequest,
    Kind,
    MeshError,
    RevisionNotYetVisible,
    Unauthenticated,
    Unavailable,
)

DOMAIN: Final = "beautymesh"
"""The `domain` of our `ErrorInfo`: whose reasons these are."""

DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata that carries a serialised `google.rpc.Status`."""

DETAILS_BYTES_DEFAULT: Final = 5 * 1024
"""Bound of the serialised status. Clients reject more than 8 KiB of metadata unless told otherwise. The status
travels as base64 (× 4/3) beside the message, so 5 KiB fit. Metadata and violations past it are cut, not the error."""

DETAILS_BYTES_MAX: Final = 1024 * 1024
"""The same bound towards callers who announce that they take that much, as our own channels do: every line of a
request of 1,000 can be named. No proxy stands between the services; one may have a bound of its own on headers."""

DETAILS_BYTES_KEY: Final = "beautymesh-details-bytes"
"""The request metadata in which a caller announces how large a serialised status it takes, as a decimal number."""

NO_REPEAT: Final = ("grpc-retry-pushback-ms", "-1")
"""The trailing metadata by which gRPC keeps a channel from repeating a call that its retry policy would repeat."""

VIOLATIONS_BYTES: Final = 2 * 1024
"""How much of the serialised status the keys and values of the metadata leave for the rest of it."""

VIOLATIONS_MAX: Final = 25
"""How many wrong fields one error names at most: `lines` may hold 10,000."""

MESSAGE_CHARACTERS_MAX: Final = 500

_NUMBER: Final = re.compile(r"[0-9]{1,9}")

_KIND_OF_CODE: Final = {getattr(grpc.StatusCode, meaning.grpc_status): kind for kind, meaning in TABLE.items()}

_FOREIGN: Final[dict[Kind, tuple[type[MeshError], str]]] = {
    Kind.INVALID: (InvalidRequest, "the service refused the request as invalid"),
    Kind.UNAUTHENTICATED: (Unauthenticated, "the service did not accept the token"),
    Kind.UNAVAILABLE: (Unavailable, "the service cannot be reached"),
    Kind.LATE: (DeadlineExceeded, "the service did not answer in time"),
    Kind.INTERNAL: (InternalError, "internal error"),
}
"""What to say when no server of ours spoke: the transport's own words hold addresses, which are for the log."""


def to_wire(
    error: MeshError, *, details_bytes_max: int = DETAILS_BYTES_DEFAULT
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Code, message and trailing metadata of an error, as `ServicerContext.abort` takes them.

    `details_bytes_max` is what the caller takes; see `announced_bytes`. An INTERNAL error loses its message and
    metadata here: its detail is for the log.
    """
    if error.kind is Kind.INTERNAL:
        error = InternalError("internal error")
    code: grpc.StatusCode = getattr(grpc.StatusCode, error.meaning.grpc_status)
    status = status_pb2.Status(code=code.value[0], message=error.message[:MESSAGE_CHARACTERS_MAX])
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    _put_bounded(info.metadata, error, details_bytes_max - VIOLATIONS_BYTES)
    _add(status, info)
    if error.retry_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_seconds * 1e9))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        room_bytes = details_bytes_max - status.ByteSize()
        _add(status, _bad_request(error.violations, room_bytes))
    details = (DETAILS_KEY, status.SerializeToString())
    if isinstance(error, RevisionNotYetVisible):
        # It has waited for as long as the caller has time: a repeat by the channel would only lose the answer.
        return code, status.message, (details, NO_REPEAT)
    return code, status.message, (details,)


def announced_bytes(metadata: Iterable[tuple[str, str | bytes]]) -> int:
    """How large a status the caller of this request metadata takes; the default where it does not say so properly."""
    for key, value in metadata:
        if key == DETAILS_BYTES_KEY and _NUMBER.fullmatch(str(value)):
            return min(max(int(value), DETAILS_BYTES_DEFAULT), DETAILS_BYTES_MAX)
    return DETAILS_BYTES_DEFAULT


def from_rpc_error(error: grpc.aio.AioRpcError) -> MeshError:
    """The `MeshError` that the server raised; for other people's servers and for the transport the nearest kind.

    A CANCELLED that arrives as an error was not caused by this caller, whose own cancellation is a `CancelledError`:
    the server went away, so it counts as UNAVAILABLE.
    """
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            found = _from_details(error.code(), value if isinstance(value, bytes) else value.encode())
            if found is not None:
                return found
    code = error.code()
    kind = Kind.UNAVAILABLE if code is grpc.StatusCode.CANCELLED else _KIND_OF_CODE.get(code, Kind.INTERNAL)
    if kind in _FOREIGN:
        error_class, message = _FOREIGN[kind]
        foreign = error_class(message)
        if error.details():
            # For whoever reads the traceback: it may hold addresses, so it goes to no caller.
            foreign.add_note(f"gRPC: {error.details()}")
        return foreign
    return class_for(kind, kind.name)(TABLE[kind].title)


@lru_cache(maxsize=1024)
def class_for(kind: Kind, reason: str) -> type[MeshError]:
    """The `MeshError` subclass of this kind and reason; one is made where this process knows none.

    So `except InsufficientStock` works where the class is imported, and a gateway that knows only the wire still sees
    the right `kind` and `reason`.
    """
    for known in _subclasses(MeshError):
        if known.kind is kind and known.reason == reason:
            return known
    return type(reason.title().replace("_", ""), (MeshError,), {"kind": kind, "reason": reason})


def _subclasses(parent: type[MeshError]) -> Iterator[type[MeshError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


def _from_details(code: grpc.StatusCode, details: bytes) -> MeshError | None:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            for target in (info, bad_request, retry):
                detail.Unpack(target)  # only if it is of that type
    except DecodeError:
        return None
    if info.domain != DOMAIN or code not in _KIND_OF_CODE:
        return None
    return class_for(_KIND_OF_CODE[code], info.reason)(
        status.message,
        metadata=dict(info.metadata),
        violations=tuple(FieldViolation(each.field, each.description) for each in bad_request.field_violations),
        retry_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _put_bounded(target: MutableMapping[str, str], error: MeshError, room_bytes: int) -> None:
    """Copies metadata in its own order until the room is used up, and says so where something is left out.

    Of a JSON array that does not fit the first entries are kept: it stays readable, and what it names is whole.
    """
    for key, value in error.metadata.items():
        room_bytes -= len(key.encode())
        used_bytes = len(value.encode())
        if used_bytes > room_bytes:
            target["metadata_truncated"] = "true"
            kept = _first_entries(value, room_bytes)
            if kept:
                target[key] = kept
            return
        room_bytes -= used_bytes
        target[key] = value


def _first_entries(value: str, room_bytes: int) -> str:
    """As many whole entries of a JSON array as fit, itself one; empty if it is none or not even one fits."""
    try:
        entries = json.loads(value)
    except ValueError:
        return ""
    if not isinstance(entries, list):
        return ""
    kept: list[str] = []
    room_bytes -= 1  # two brackets, and a comma less than entries
    for entry in entries:
        written = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        room_bytes -= len(written.encode()) + 1
        if room_bytes < 0:
            break
        kept.append(written)
    return f"[{','.join(kept)}]" if kept else ""


def _bad_request(violations: tuple[FieldViolation, ...], room_bytes: int) -> error_details_pb2.BadRequest:
    named = error_details_pb2.BadRequest()
    for violation in violations[:VIOLATIONS_MAX]:
        room_bytes -= len(violation.field.encode()) + len(violation.description.encode()) + 16
        if room_bytes < 0:
            break
        named.field_violations.add(field=violation.field, description=violation.description)
    return named
