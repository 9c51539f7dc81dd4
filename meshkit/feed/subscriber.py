"""What one stream does next: a pure state machine that is told what was read and says what to send, read or await.

    SNAPSHOTTING ──── the last page was read ────► CATCHING_UP ──── reached the window ────► SYNCED
    CATCHING_UP ──── the log begins above it ────► SNAPSHOTTING
    SYNCED ──── the window has moved past it ────► CATCHING_UP

A stream asks for its next step only when its last message has left, so it holds at most the messages of one read,
however slow its reader is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeAlias

from beautymesh.common.v1.watch_pb2 import GOODBYE_REASON_MAX_AGE, GoodbyeReason
from meshkit.feed.token import ResumeToken
from meshkit.feed.window import Chunk, Encoder, Message, Selection, Window, conflate, wanted
from meshkit.log.model import Head
from meshkit.log.reader import Page

MESSAGE_BYTES_AIM = 256 * 1024
"""Chunks that wait are put into one message up to about this size: a reader that is behind needs fewer, larger ones."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a stream speaks although it has nothing to tell, and when it ends. The end is in the loop's time.

    `progress_seconds` after its last message it says that it went on although nothing passed its filter;
    `heartbeat_seconds` after it that it lives, which must be less than the idle timeout of any usual proxy (60 s).
    """

    end_time: float
    progress_seconds: float = 1.0
    heartbeat_seconds: float = 15.0


class State(Enum):
    """Where a stream's next message comes from: the window, the log, the state."""

    SYNCED = "synced"
    CATCHING_UP = "catching_up"
    SNAPSHOTTING = "snapshotting"


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Rows of the state in order of key: a response without position, and where the next page begins.

    `cursor` is not empty: it stands behind the last row, or says that there is none. `last`: nothing follows now.
    `head` was read by the same statement as the rows.
    """

    body: bytes
    cursor: bytes
    last: bool
    head: Head


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read the log after a revision and call `log_read`."""

    after: int


@dataclass(frozen=True, slots=True)
class ReadState:
    """Read the page of the state after a cursor (empty: the first) and call `state_read`."""

    cursor: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the window changes or the loop's time reaches `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class End:
    """The stream is over."""


Step: TypeAlias = Send | ReadLog | ReadState | Wait | End


class Subscriber:
    """One stream.

    `at` is the revision up to which it has looked, `sent` the one up to which it has told its client; they differ where
    the filter let nothing through.
    """

    def __init__(
        self,
        window: Window,
        encoder: Encoder,
        selection: Selection,
        *,
        token: ResumeToken | None,
        with_snapshot: bool,
        every_revision: bool,
        rhythm: Rhythm,
        now: float,
    ) -> None:
        """Goes on at `token`; without one begins with a snapshot, or at the window's end. `now` is the loop's time."""
        self._window = window
        self._encoder = encoder
        self._selection = selection
        self._every_revision = every_revision
        self._rhythm = rhythm
        self._sent_time = now
        self._outbox: deque[bytes] = deque()
        self._goodbye_reason: GoodbyeReason.ValueType | None = None
        self._over = False
        self._cursor: bytes | None = None
        """Behind which row the next page of a snapshot begins; empty: the first page is still to be read."""
        self._sent = self._at = 0
        if token is not None:
            self._sent = self._at = token.revision
            self._cursor = token.cursor
            self._sent_time = -inf  # so that it hears at once that the stream stands again
        elif with_snapshot:
            self._cursor = b""
        else:
            self._sent = self._at = window.end
            self._send(self._at, encoder.progress())  # so that the client has a token at once

    @property
    def state(self) -> State:
        """In which of the three sets it is."""
        if self._cursor is not None:
            return State.SNAPSHOTTING
        return State.CATCHING_UP if self._at < self._window.floor else State.SYNCED

    def end(self, reason: GoodbyeReason.ValueType) -> None:
        """Says goodbye with the next step."""
        self._goodbye_reason = self._goodbye_reason or reason

    def next(self, now: float) -> Step:
        """What to do now."""
        if self._outbox:
            self._sent_time = now
            return Send(self._outbox.popleft())
        if self._over:
            return End()
        if now >= self._rhythm.end_time:
            self.end(GOODBYE_REASON_MAX_AGE)
        if self._goodbye_reason is not None:
            self._over = True
            self._send(self._at, self._encoder.goodbye(self._goodbye_reason))
        elif self._cursor is not None:
            return ReadState(self._cursor)
        elif self._at < self._window.floor:
            return ReadLog(self._at)
        else:
            self._take_from_window()
            rhythm = self._rhythm
            silent_seconds = rhythm.progress_seconds if self._sent < self._at else rhythm.heartbeat_seconds
            if not self._outbox:
                if now < self._sent_time + silent_seconds:
                    return Wait(min(rhythm.end_time, self._sent_time + silent_seconds))
                self._send(self._at, self._encoder.progress())
        self._sent_time = now
        return Send(self._outbox.popleft())

    def log_read(self, page: Page) -> None:
        """Takes a page of the log after `at`. If the log does not reach down there any more, a snapshot begins."""
        assert page.after == self._at, f"asked for the log after {self._at}, got it after {page.after}"
        if page.has_gap:
            self._cursor = b""
            return
        streamed = [event for event in page.events if self._encoder.is_streamed(event)]
        events = wanted(streamed, self._selection)
        self._at = page.covers_to
        if events:
            shown = events if self._every_revision else conflate(events)
            self._send(self._at, self._encoder.deltas(shown, conflated=not self._every_revision))

    def state_read(self, page: SnapshotPage) -> None:
        """Takes a page of the state after the cursor. The deltas will go on from the head of the first one."""
        if not self._cursor:
            self._at = page.head.revision
        self._cursor = page.cursor
        self._send(self._at, page.body)
        if page.last:
            self._cursor = None
            self._send(self._at, self._encoder.snapshot_complete(page.head.revision))

    def _take_from_window(self) -> None:
        """Queues what the window has beyond `at`: one chunk's shared message as it is, or several put together."""
        run: list[Message] = []
        run_bytes = 0
        for chunk in self._window.after(self._at):
            message = self._message(chunk)
            self._at = chunk.covers_to
            if message is not None:
                run.append(message)
                run_bytes += len(message.data)
                if run_bytes >= MESSAGE_BYTES_AIM:
                    break
        if len(run) == 1 and run[0].covers_from == self._sent:
            self._outbox.append(run[0].data)
            self._sent = run[0].covers_to
        elif run:
            self._send(run[-1].covers_to, b"".join([message.body for message in run]))

    def _message(self, chunk: Chunk) -> Message | None:
        """What is still to be said of a chunk. A stream may come into the middle of one with a token from elsewhere."""
        if chunk.covers_from >= self._at or not chunk.events or chunk.events[0].revision > self._at:
            return self._window.message(chunk, self._selection)
        events = wanted([event for event in chunk.events if event.revision > self._at], self._selection)
        if not events:
            return None
        token = ResumeToken(self._window.log_id, chunk.covers_to, self._selection.hash)
        return Message(self._sent, token, self._encoder.deltas(events, conflated=False))

    def _send(self, covers_to: int, body: bytes) -> None:
        token = ResumeToken(self._window.log_id, covers_to, self._selection.hash, self._cursor)
        self._outbox.append(Message(self._sent, token, body).data)
        self._sent = covers_to
