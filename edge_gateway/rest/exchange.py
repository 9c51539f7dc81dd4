"""What the transcoder and the handlers behind it hand to each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message

from meshkit.rpc.call import Call


class Exchange(NamedTuple):
    """One request beside its message. `no_cache`: the caller wants no answer from a cache of ours."""

    call: Call
    no_cache: bool


class Answer(NamedTuple):
    """An answer that says more than its message.

    `body` as bytes is ready JSON. `etag` is opaque and without quotes; empty: one is made from the body where the
    contract lets the answer be kept. `headers` are added; their names are in lower case.
    """

    body: Message | bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    etag: str = ""


UnaryHandler: TypeAlias = Callable[[Any, Exchange], Coroutine[Any, Any, Message | Answer]]
"""Answers one request message; raises `MeshError`."""

StreamHandler: TypeAlias = Callable[[Any, Exchange], AsyncGenerator[Message | bytes, None]]
"""Answers with many messages. Bytes are serialised messages: the same object is encoded once for all its readers."""

Handler: TypeAlias = UnaryHandler | StreamHandler
