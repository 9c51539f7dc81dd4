"""The last events of a log in memory, each chunk of them encoded once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import add
from typing import Protocol

from beautymesh.common.v1.watch_pb2 import GoodbyeReason, WatchPosition
from meshkit.feed.token import ResumeToken
from meshkit.log.model import EventRow


class Selection(Protocol):
    """What a subscriber wants to see."""

    @property
    def hash(self) -> bytes:
        """The same for selections that want the same; empty for one that wants everything. At most 32 bytes."""
        ...

    def wants(self, event: EventRow) -> bool:
        """Whether an event passes. Pure: the same answer for every event of one key."""
        ...


class Encoder(Protocol):
    """How a service's stream looks on the wire. Each method gives the bytes of a response without its position."""

    def is_streamed(self, event: EventRow) -> bool:
        """Whether events of this kind are streamed at all."""
        ...

    def deltas(self, events: Sequence[EventRow], *, conflated: bool) -> bytes:
        """Changes. `before` of each is `balances - deltas`, also where the deltas of many events were added up."""
        ...

    def snapshot_complete(self, revision: int) -> bytes:
        """The end of a snapshot's pages."""
        ...

    def progress(self) -> bytes:
        """Nothing happened."""
        ...

    def goodbye(self, reason: GoodbyeReason.ValueType) -> bytes:
        """The end of the stream."""
        ...


class Message:
    """A response on the wire: position, then body. Slicing off the body is how several become one."""

    __slots__ = ("_body_at", "covers_from", "covers_to", "data")

    def __init__(self, covers_from: int, token: ResumeToken, body: bytes) -> None:
        """Accounts for (covers_from, token.revision]."""
        position = WatchPosition(covers_from=covers_from, covers_to=token.revision, resume_token=token.encode())
        head = position.SerializeToString()
        # Field 1, length-delimited. As a varint the length takes two bytes at most: a token is at most 1,024 long.
        length = len(head)
        prefix = bytes((0x0A, length)) if length < 0x80 else bytes((0x0A, length & 0x7F | 0x80, length >> 7))  # noqa: PLR2004
        self.covers_from = covers_from
        self.covers_to = token.revision
        self._body_at = len(prefix) + length
        self.data = prefix + head + body

    @property
    def body(self) -> memoryview:
        """The bytes without the position."""
        return memoryview(self.data)[self._body_at :]


class Chunk:
    """Whole revisions in (covers_from, covers_to]: those of their events that are streamed, and their messages."""

    __slots__ = ("covers_from", "covers_to", "encoded_bytes", "events", "messages")

    def __init__(self, covers_from: int, covers_to: int, events: Sequence[EventRow]) -> None:
        """`messages` has one for each selection that was asked for, None where nothing passes."""
        self.covers_from = covers_from
        self.covers_to = covers_to
        self.events = events
        self.messages: dict[bytes, Message | None] = {}
        self.encoded_bytes = 0


def wanted(events: Sequence[EventRow], selection: Selection) -> Sequence[EventRow]:
    """The events that a selection lets through."""
    return [event for event in events if selection.wants(event)] if selection.hash else events


class Window:
    """The chunks (floor, end] in one gapless run, bounded by events and by encoded bytes.

    The newest chunk always stays, whatever its size: one revision may be larger than the bounds.
    """

    def __init__(self, encoder: Encoder, log_id: str, start: int, *, events_max: int, bytes_max: int) -> None:
        """Empty, at revision `start` of a log."""
        self._encoder = encoder
        self.log_id = log_id
        self.end = start
        self._chunks: deque[Chunk] = deque()
        self._events_max = events_max
        self._bytes_max = bytes_max
        self.events = 0
        self.encoded_bytes = 0

    @property
    def floor(self) -> int:
        """A stream at this revision or above finds here what comes next."""
        return self._chunks[0].covers_from if self._chunks else self.end

    def append(self, events: Sequence[EventRow], covers_to: int) -> None:
        """Takes the streamed events of (end, covers_to]."""
        assert covers_to > self.end, f"the window is at {self.end}, got events up to {covers_to}"
        covers_from = self.end
        if self._chunks and not self._chunks[-1].events:
            # A chunk without events becomes part of the next one, so that silence does not fill the window.
            covers_from = self._chunks.pop().covers_from
        self._chunks.append(Chunk(covers_from, covers_to, events))
        self.end = covers_to
        self.events += len(events)
        while len(self._chunks) > 1 and (self.events > self._events_max or self.encoded_bytes > self._bytes_max):
            self._drop(self._chunks.popleft())

    def restart(self, revision: int) -> None:
        """Forgets everything and goes on at a later revision."""
        self._chunks.clear()
        self.events = self.encoded_bytes = 0
        self.end = revision

    def after(self, revision: int) -> Iterator[Chunk]:
        """The chunks that reach beyond a revision, oldest first; the first may begin before it."""
        found = []
        for chunk in reversed(self._chunks):  # from the newest: most streams are nearly there
            if chunk.covers_to <= revision:
                break
            found.append(chunk)
        return reversed(found)

    def message(self, chunk: Chunk, selection: Selection) -> Message | None:
        """The message that all subscribers of a selection share; encoded at the first call. None if nothing passes."""
        if selection.hash in chunk.messages:
            return chunk.messages[selection.hash]
        passing = wanted(chunk.events, selection)
        message = None
        if passing:
            token = ResumeToken(self.log_id, chunk.covers_to, selection.hash)
            message = Message(chunk.covers_from, token, self._encoder.deltas(passing, conflated=False))
            chunk.encoded_bytes += len(message.data)
            self.encoded_bytes += len(message.data)
        chunk.messages[selection.hash] = message
        return message

    def _drop(self, chunk: Chunk) -> None:
        self.events -= len(chunk.events)
        self.encoded_bytes -= chunk.encoded_bytes


def conflate(events: Sequence[EventRow]) -> list[EventRow]:
    """One event for each key: its last, with the deltas of all of them. In order of revision."""
    last: dict[str, EventRow] = {}
    sums: dict[str, tuple[int, ...]] = {}
    for event in events:
        earlier = last.pop(event.key, None)  # popped, so that the key moves to the end
        last[event.key] = event
        if earlier is not None:
            before = sums.get(event.key, earlier.deltas)
            sums[event.key] = tuple(map(add, before, event.deltas))
    return [replace(event, deltas=sums[key]) if key in sums else event for key, event in last.items()]
