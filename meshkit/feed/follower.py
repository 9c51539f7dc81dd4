"""The client's side: follows a stream for ever, each change applied at least once, and proves that none was missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import structlog

from beautymesh.common.v1.watch_pb2 import WatchPosition
from meshkit.core.errors import InternalError, Kind, MeshError, ResumeTokenForeign, ResumeTokenInvalid

_log = structlog.get_logger("meshkit.feed")

RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
_PASSING = frozenset({Kind.UNAVAILABLE, Kind.LATE, Kind.TOO_MANY, Kind.INTERNAL, Kind.UNAUTHENTICATED})
"""Kinds of errors after which the same stream may be opened again; a rejected token is a new one the next time."""


class StreamBroken(InternalError):
    """A stream left a part of the log out, or told it twice: nothing that was built on it can be trusted."""


class WatchResponse(Protocol):
    """Any response of any watch RPC; see `meshkit.feed` for what they have in common."""

    @property
    def position(self) -> WatchPosition:
        """Which part of the log it accounts for."""
        ...

    def WhichOneof(self, oneof_group: Literal["body"], /) -> str | None:  # noqa: N802 — Protobuf's name
        """The field of `oneof body` that is set."""
        ...


ResponseT = TypeVar("ResponseT", bound=WatchResponse)
ResponseT_contra = TypeVar("ResponseT_contra", bound=WatchResponse, contravariant=True)


class Consumer(Protocol[ResponseT_contra]):
    """What is done with a stream. Everything may come a second time after a restart."""

    async def begin_snapshot(self) -> None:
        """All rows will come anew. What has not come when the snapshot is complete does not exist any more."""
        ...

    async def apply(self, response: ResponseT_contra) -> None:
        """Rows of a snapshot, or deltas; a delta is taken only if its revision is above that of its row."""
        ...

    async def complete_snapshot(self, revision: int) -> None:
        """The rows are all here; with the deltas up to `revision` they are a consistent cut."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """How far a follower has come: its token, the revision it accounts for, and whether it is within a snapshot."""

    resume_token: str
    covers_to: int
    in_snapshot: bool


class PositionStore(Protocol):
    """Keeps a follower's position, as durably as what the follower builds."""

    async def load(self) -> Position | None:
        """The position saved last; None if there is none."""
        ...

    async def save(self, position: Position) -> None:
        """Replaces it. Called after what it accounts for was applied."""
        ...


class MemoryPosition:
    """For what is built in memory and lost with it."""

    def __init__(self) -> None:
        """Starts without a position: with a snapshot."""
        self._position: Position | None = None

    async def load(self) -> Position | None:
        """The position saved last."""
        return self._position

    async def save(self, position: Position) -> None:
        """Replaces it."""
        self._position = position


class Follower(Generic[ResponseT]):
    """Follows one stream over restarts of either side."""

    def __init__(
        self,
        open_stream: Callable[[str], AsyncIterable[ResponseT]],
        *,
        consumer: Consumer[ResponseT],
        positions: PositionStore,
        name: str,
    ) -> None:
        """`open_stream` calls the RPC with a resume token, empty for a new stream. `name` is for the log."""
        self._open_stream = open_stream
        self._consumer = consumer
        self._positions = positions
        self._name = name
        self._position: Position | None = None

    @property
    def covers_to(self) -> int:
        """The revision up to which everything was applied; 0 before the first message."""
        return self._position.covers_to if self._position is not None else 0

    async def run(self) -> None:
        """Follows until cancelled.

        Raises:
            StreamBroken: the server skipped or repeated something. Restarted, the follower goes on before it.
            MeshError: the server refuses the stream in a way that does not pass (scope, request).
        """
        self._position = await self._positions.load()
        retry_seconds = RETRY_SECONDS_MIN
        while True:
            covered = self._position
            try:
                await self._follow()
            except (ResumeTokenForeign, ResumeTokenInvalid) as refusal:
                _log.warning("follower.starts_over", follower=self._name, reason=refusal.reason)
                self._position = None
            except StreamBroken:
                raise
            except MeshError as fault:
                if fault.kind not in _PASSING:
                    raise
                _log.info("follower.interrupted", follower=self._name, reason=fault.reason)
            moved = self._position != covered
            retry_seconds = RETRY_SECONDS_MIN if moved else min(2 * retry_seconds, RETRY_SECONDS_MAX)
            # Jitter, because the streams of one server all end at the same time.
            await asyncio.sleep(retry_seconds * random.uniform(0, 1))  # noqa: S311 — spreads load

    async def _follow(self) -> None:
        """One stream, to its end."""
        token = self._position.resume_token if self._position is not None else ""
        async with aclosing(_generator(self._open_stream(token))) as responses:
            async for response in responses:
                await self._take(response)
                if response.WhichOneof("body") == "goodbye":
                    return

    async def _take(self, response: ResponseT) -> None:
        position, body = response.position, response.WhichOneof("body")
        self._require_contiguous(position)
        in_snapshot = self._position is not None and self._position.in_snapshot
        if body == "snapshot":
            if not in_snapshot:
                await self._consumer.begin_snapshot()
            in_snapshot = True
            await self._consumer.apply(response)
        elif body == "snapshot_complete":
            in_snapshot = False
            revision: int = response.snapshot_complete.revision  # type: ignore[attr-defined]  # the convention of `meshkit.feed`
            await self._consumer.complete_snapshot(revision)
        elif body == "deltas":
            await self._consumer.apply(response)
        self._position = Position(position.resume_token, position.covers_to, in_snapshot)
        await self._positions.save(self._position)

    def _require_contiguous(self, position: WatchPosition) -> None:
        if position.covers_to < position.covers_from:
            raise StreamBroken(f"{self._name}: ({position.covers_from}, {position.covers_to}] is no range")
        if self._position is not None and position.covers_from != self._position.covers_to:
            raise StreamBroken(
                f"{self._name}: after revision {self._position.covers_to} came"
                f" ({position.covers_from}, {position.covers_to}]"
            )


async def _generator(responses: AsyncIterable[ResponseT]) -> AsyncGenerator[ResponseT, None]:
    """A stream that can be closed for certain, also where the client's own iterator cannot."""
    iterator = aiter(responses)
    try:
        async for response in iterator:
            yield response
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
