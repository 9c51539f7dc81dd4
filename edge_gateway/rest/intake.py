"""What a request may bring along: its headers, its media types, and a body within bounds of size and time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from edge_gateway.rest.problems import MEDIA_TYPE, TransportProblem

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

BODY_SECONDS_MAX: Final = 15.0
"""How long a body may take to arrive: 16 MiB at 9 Mbit/s. A slower sender would hold memory for nothing."""

DISCARDED_BYTES_MAX: Final = 16 * 1024 * 1024
DISCARD_SECONDS_MAX: Final = 1.0
"""Bounds of what is taken in, and thrown away, of a body that was refused."""

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream"

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*"'
_MEDIA_TYPE: Final = re.compile(
    rb"[ \t]*+(%(t)s/%(t)s)((?:[ \t]*+;[ \t]*+(?:%(t)s=(?:%(t)s|%(q)s))?+)*+)[ \t]*+" % {b"t": _TOKEN, b"q": _QUOTED}
).fullmatch
_PARAMETER: Final = re.compile(rb";[ \t]*(%b)=(%b|%b)" % (_TOKEN, _TOKEN, _QUOTED)).findall
"""Source: RFC 9110, sections 5.6.6 and 8.3.1. Possessive, because spaces between semicolons match in many ways."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name; the lines of one name are one list (RFC 9110, section 5.3).

    Where there must be only one value, as of `Authorization`, a list is nothing that is accepted.
    """
    lines = scope["headers"]
    headers: dict[bytes, bytes] = dict(lines)
    if len(headers) == len(lines):  # as good as always
        return headers
    headers.clear()
    for name, value in lines:
        headers[name] = b", ".join((headers[name], value)) if name in headers else value
    return headers


class ClientGone(Exception):
    """The caller went away before the request was complete; there is nobody to answer."""


class Body:
    """The body of one request, taken in at most once."""

    __slots__ = ("_headers", "_is_taken", "receive")

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        """Nothing is read yet."""
        self.receive = receive
        self._headers = headers
        self._is_taken = False

    async def read(self, *, limit_bytes: int) -> bytes:
        """The whole body.

        Raises:
            TransportProblem: too large, as soon as that is known, or too slow.
            ClientGone: it will never be whole.
        """
        declared = self._headers.get(b"content-length", b"")
        if declared.isdigit() and len(declared) < 20 and int(declared) > limit_bytes:  # noqa: PLR2004 — digits of 2^64
            raise TransportProblem.body_too_large(limit_bytes)
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                return await self._read(limit_bytes)
        except TimeoutError:
            detail = f"the body has to arrive within {BODY_SECONDS_MAX:g} s"
            raise TransportProblem("BODY_TOO_SLOW", detail) from None

    async def discard(self) -> None:
        """Takes in what is left of a refused request's body, within bounds, before it is answered.

        The server closes a connection whose request was not read to its end, and a caller that is still sending then
        sees a broken pipe instead of the refusal. One that waits to be told to go on (`Expect`) has nothing on the way.
        """
        headers = self._headers
        is_empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        if is_empty or self._is_taken or b"expect" in headers:
            return
        left_bytes = DISCARDED_BYTES_MAX
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                while left_bytes > 0 and not self._is_taken:
                    left_bytes -= len(await self._part())

    async def _read(self, limit_bytes: int) -> bytes:
        parts: list[bytes] = []
        size_bytes = 0
        while not self._is_taken:
            part = await self._part()
            size_bytes += len(part)
            if size_bytes > limit_bytes:
                raise TransportProblem.body_too_large(limit_bytes)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _part(self) -> bytes:
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        self._is_taken = not event.get("more_body", False)
        part: bytes = event.get("body", b"")
        return part


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuses a body that does not say that it is JSON in UTF-8.

    Raises:
        TransportProblem: naming what is accepted.
    """
    given = headers.get(b"content-type", b"")
    if given != JSON and not _is_json_in_utf_8(given):
        raise TransportProblem("UNSUPPORTED_MEDIA_TYPE", "the body must be application/json in UTF-8")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise TransportProblem("UNSUPPORTED_MEDIA_TYPE", "the body must not be compressed")


def _is_json_in_utf_8(content_type: bytes) -> bool:
    """Whether it is JSON, and no parameter says another charset; what others say is not ours to know."""
    found = _MEDIA_TYPE(content_type)
    if found is None or found[1].lower() != JSON:
        return False
    charsets = [value.strip(b'"').lower() for name, value in _PARAMETER(found[2]) if name.lower() == b"charset"]
    return all(each == b"utf-8" for each in charsets)


def require_accepted(headers: Mapping[bytes, bytes], media_type: bytes) -> None:
    """Refuses a caller that takes other media types only.

    Raises:
        TransportProblem: naming what there is.
    """
    accept = headers.get(b"accept")
    if accept is None or accept == b"*/*":
        return
    # Who names only the problems' type can be told of problems, and takes the answer for what it says it is.
    names = (b"*/*", media_type.partition(b"/")[0] + b"/*", media_type, *((MEDIA_TYPE,) if media_type == JSON else ()))
    for each in accept.lower().split(b","):
        name, *parameters = (part.strip() for part in each.split(b";"))
        if name in names and not any(_is_zero(part) for part in parameters):
            return
    raise TransportProblem("NOT_ACCEPTABLE", f"the answer is {media_type.decode()}")


def _is_zero(parameter: bytes) -> bool:
    """Whether a parameter is `q=0`, by which a caller says that it does not take the type."""
    name, _, value = parameter.partition(b"=")
    return name.strip() == b"q" and value.strip() in (b"0", b"0.", b"0.0", b"0.00", b"0.000")


def peer_of(client: Sequence[object] | None) -> str:
    """The caller's address as logs write it."""
    return f"tcp:{client[0]}:{client[1]}" if client else ""
