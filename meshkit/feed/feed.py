"""The feed's shell: reads the log, keeps the window, wakes the streams.

Three things move it on: the process's own commits (`publish`, without a look at the database), hints from other
processes, and a poll that always runs, because the first two may be missing. The table is the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import monotonic
from typing import Generic, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.common.v1.watch_pb2 import GOODBYE_REASON_DRAINING
from meshkit.core.errors import ResumeTokenForeign, RevisionNotYetVisible, Unavailable
from meshkit.feed import metrics as names
from meshkit.feed.hints import Hints
from meshkit.feed.subscriber import End, ReadLog, ReadState, Rhythm, Send, SnapshotPage, State, Subscriber, Wait
from meshkit.feed.token import ResumeToken, invalid
from meshkit.feed.window import Encoder, Selection, Window
from meshkit.log.model import EventRow, Head
from meshkit.log.reader import read_events, read_head
from meshkit.log.visibility import give_up_time
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing

_log = structlog.get_logger("meshkit.feed")

SelectionT = TypeVar("SelectionT", bound=Selection)
SelectionT_contra = TypeVar("SelectionT_contra", bound=Selection, contravariant=True)


class Stream(Encoder, Protocol[SelectionT_contra]):
    """What a service brings."""

    async def read_state(self, selection: SelectionT_contra, cursor: bytes) -> SnapshotPage:
        """The page of the state after a cursor of an earlier page; the first page after an empty one.

        Raises:
            ResumeTokenInvalid: the cursor is none of ours.
        """
        ...


@dataclass(frozen=True, slots=True)
class FeedBounds:
    """The bounds of a feed.

    `poll_seconds` is how late a commit of another process is seen without a hint. The window keeps `window_events_max`
    streamed events and `window_bytes_max` of encoded messages; who is further behind reads the log, `page_events_max`
    events at a time (reading 2,000 holds up the loop for some 15 ms), `reads_max` streams at the same time; the others
    wait for their turn, so that they neither use up the pool nor run into its time limit.

    Deliveries are `pace_seconds_per_stream` apart for each stream, within `pace_seconds_min` and `pace_seconds_max`: at
    10 ms for 50 streams, a message each, a third of the loop's time goes into deliveries. The first after a pause goes
    out at once.

    A stream lives for `stream_seconds_max`, less up to a fifth by chance, so that streams that began together do not
    end together. `meshkit.feed.subscriber.Rhythm` says what the last two do.
    """

    poll_seconds: float = 0.25
    window_events_max: int = 20_000
    window_bytes_max: int = 32 * 1024 * 1024
    chunk_events_max: int = 1_000
    page_events_max: int = 2_000
    pace_seconds_min: float = 0.005
    pace_seconds_max: float = 0.05
    pace_seconds_per_stream: float = 0.000_2
    reads_max: int = 2
    stream_seconds_max: float = 1800.0
    progress_seconds: float = 1.0
    heartbeat_seconds: float = 15.0


ALIVE_SECONDS_MAX = 2.0
"""How old the last sight of the head may be before the process counts as not ready: eight polls."""
LINKS_MAX = 128
"""Links of one span, as OpenTelemetry limits them."""
START_SECONDS_MAX = 1.0
"""How long a stream or a readiness check waits for a feed that has not read the head yet."""


class Feed(Generic[SelectionT]):
    """One log's feed in one process."""

    def __init__(
        self,
        stream: Stream[SelectionT],
        *,
        engine: AsyncEngine,
        hints: Hints,
        bounds: FeedBounds,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        """Does nothing until `run`. `engine` must reach the primary."""
        self._stream = stream
        self._engine = engine
        self._hints = hints
        self._bounds = bounds
        self._tracing = tracing
        self._window: Window | None = None
        self._position = 0
        self._known_head = 0
        self._complete_time = monotonic()
        self._pending: list[EventRow] = []
        self._flush_timer: asyncio.Handle | None = None
        self._flush_time = 0.0
        self._wake = asyncio.Event()
        self._started = asyncio.Event()
        self._streams: set[Subscriber] = set()
        self._asleep: set[asyncio.Future[None]] = set()
        self._readers: dict[asyncio.Future[None], int] = {}
        self._turns = asyncio.Semaphore(bounds.reads_max)
        self._draining = False
        self._messages = metrics.counter(names.MESSAGES)
        metrics.gauge(names.LAG_REVISIONS).set_function(lambda: self.lag_revisions)
        metrics.gauge(names.LAG_SECONDS).set_function(lambda: self.lag_seconds)
        metrics.gauge(names.WINDOW_EVENTS).set_function(lambda: self._window.events if self._window else 0)
        metrics.gauge(names.WINDOW_BYTES).set_function(lambda: self._window.encoded_bytes if self._window else 0)
        for state in State:
            metrics.gauge(names.SUBSCRIBERS).labels(state.value).set_function(partial(self._count, state))

    @property
    def position(self) -> int:
        """The last revision that this process has seen."""
        return self._position

    @property
    def lag_revisions(self) -> int:
        """Revisions known to exist that streams cannot see yet."""
        return self._known_head - self._window.end if self._window is not None else 0

    @property
    def lag_seconds(self) -> float:
        """Time since this process last knew that it had the whole log."""
        return monotonic() - self._complete_time

    async def check(self) -> None:
        """Readiness: returns if the feed lives, and waits a moment for one that has just been started.

        Raises:
            Unavailable: it has not seen the log's head for `ALIVE_SECONDS_MAX`.
        """
        await self._wait_for_start()
        if self.lag_seconds > ALIVE_SECONDS_MAX:
            raise Unavailable("the feed does not keep up with the log")

    async def run(self) -> None:
        """Follows the log until cancelled."""
        while self._window is None:
            try:
                self._open(await read_head(self._engine))
            except Unavailable:
                await asyncio.sleep(self._bounds.poll_seconds)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hints.run(self._window.log_id, self._hinted))
            tasks.create_task(self._poll())

    def publish(self, events: Sequence[EventRow], head: Head) -> None:
        """Takes the events of a commit of this process: the writer's `on_commit`."""
        if self._window is None:
            return  # `run` will read them
        if events[0].revision == self._position + 1:
            self._take(events, head.revision)
            self._complete_time = monotonic()
        self._hinted(head.revision)
        self._hints.send(head.revision)

    async def wait_for(self, revision: int, deadline: float | None) -> None:
        """Returns once this process can read a revision ("read your writes"). `deadline` is in the loop's time.

        Raises:
            RevisionNotYetVisible: shortly before the deadline.
        """
        if revision <= self._position:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._readers[future] = revision
        self._wake.set()
        try:
            async with asyncio.timeout_at(give_up_time(deadline, loop.time())):
                await future
        except TimeoutError as late:
            metadata = {"revision": str(revision), "visible": str(self._position)}
            message = f"revision {revision} is not visible here yet; {self._position} is"
            raise RevisionNotYetVisible(message, metadata=metadata) from late
        finally:
            del self._readers[future]

    async def subscribe(
        self,
        selection: SelectionT,
        *,
        resume_token: str = "",
        with_snapshot: bool = True,
        every_revision: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """One stream: serialised responses, until it says goodbye.

        Goes on at `resume_token`; without one it begins with a snapshot, or, without that, with what changes from now
        on. `every_revision` asks for unfolded deltas where the stream is behind the window. The caller closes the
        generator.

        Raises:
            ResumeTokenInvalid, ResumeTokenForeign: the token is damaged or of another filter; of another log.
            Unavailable: the database does not answer, the process shuts down.
        """
        loop = asyncio.get_running_loop()
        window = await self._wait_for_start()
        token = await self._checked(resume_token, selection, window) if resume_token else None
        if token is None and not with_snapshot and self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush()  # "from now on" begins behind what is committed, not behind what is delivered
        if self._draining:
            raise Unavailable("the service is shutting down")
        age_seconds_max = self._bounds.stream_seconds_max * random.uniform(0.8, 1)  # noqa: S311 — spreads load
        rhythm = Rhythm(loop.time() + age_seconds_max, self._bounds.progress_seconds, self._bounds.heartbeat_seconds)
        subscriber = Subscriber(
            window,
            self._stream,
            selection,
            token=token,
            with_snapshot=with_snapshot,
            every_revision=every_revision,
            rhythm=rhythm,
            now=loop.time(),
        )
        self._streams.add(subscriber)
        try:
            while True:
                if window is not self._window:
                    raise Unavailable("the log was replaced by another one")
                match subscriber.next(loop.time()):
                    case Send(data):
                        self._messages.inc()
                        yield data
                    case Wait(until):
                        await self._sleep(until)
                    case ReadLog(after):
                        async with self._turns:
                            page = await read_events(self._engine, after, events_max=self._bounds.page_events_max)
                        self._require_same(window, page.head, after)
                        subscriber.log_read(page)
                    case ReadState(cursor):
                        async with self._turns:
                            rows = await self._stream.read_state(selection, cursor)
                        self._require_same(window, rows.head, 0)
                        subscriber.state_read(rows)
                    case End():
                        return
        finally:
            self._streams.discard(subscriber)

    async def drain(self) -> None:
        """Ends all streams with a goodbye and takes no new ones."""
        self._draining = True
        for subscriber in self._streams:
            subscriber.end(GOODBYE_REASON_DRAINING)
        self._rouse()

    # The tail of the log.

    def _open(self, head: Head) -> None:
        bounds = self._bounds
        self._window = Window(
            self._stream,
            head.log_id,
            head.revision,
            events_max=bounds.window_events_max,
            bytes_max=bounds.window_bytes_max,
        )
        self._pending.clear()
        self._position = self._known_head = head.revision
        self._complete_time = monotonic()
        self._started.set()

    def _hinted(self, revision: int) -> None:
        self._known_head = max(self._known_head, revision)
        if revision > self._position:
            self._wake.set()

    async def _poll(self) -> None:
        reachable = True
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._bounds.poll_seconds):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._read_on()
            except Unavailable:
                if reachable:  # once an outage, not once an attempt
                    _log.warning("feed.database_gone", position=self._position)
                reachable = False
                await asyncio.sleep(self._bounds.poll_seconds)
            else:
                reachable = True

    async def _read_on(self) -> None:
        """Reads what follows, page after page, up to the head."""
        assert self._window is not None, "the poll begins when the window is there"
        while True:
            after, begin_time = self._position, monotonic()
            page = await read_events(self._engine, after, events_max=self._bounds.page_events_max)
            head = page.head
            if head.log_id != self._window.log_id or head.revision < after:
                _log.error("feed.log_replaced", position=after, head=head.revision, log_id=head.log_id)
                self._open(head)
                self._rouse()
                return
            behind = head.revision - self._position  # none if `publish` was faster meanwhile
            # What lies further back than the window reaches would fall out of it before anybody had seen it.
            if behind > self._bounds.window_events_max or (behind > 0 and page.has_gap):
                self._skip_to(head.revision)
            elif page.covers_to > self._position:
                self._take(page.events, page.covers_to)
            self._known_head = max(self._known_head, head.revision)
            if self._position >= head.revision:
                self._complete_time = max(self._complete_time, begin_time)
                return

    def _take(self, events: Sequence[EventRow], covers_to: int) -> None:
        position, self._position = self._position, covers_to
        is_streamed = self._stream.is_streamed
        self._pending += [event for event in events if event.revision > position and is_streamed(event)]
        self._known_head = max(self._known_head, covers_to)
        self._answer_readers()
        if self._flush_timer is None:
            loop = asyncio.get_running_loop()
            due = self._flush_time + self._pace_seconds()
            later = due > loop.time()
            self._flush_timer = loop.call_at(due, self._flush) if later else loop.call_soon(self._flush)

    def _skip_to(self, revision: int) -> None:
        """Goes on further up; the streams read what lies between from the log, each as it asked for."""
        assert self._window is not None, "only a feed that runs can skip"
        self._pending.clear()
        self._window.restart(revision)
        self._position = revision
        self._answer_readers()
        self._rouse()

    def _answer_readers(self) -> None:
        for future, revision in self._readers.items():
            if revision <= self._position:
                _settle(future)

    # Deliveries.

    def _pace_seconds(self) -> float:
        bounds = self._bounds
        wanted_seconds = len(self._streams) * bounds.pace_seconds_per_stream
        return min(bounds.pace_seconds_max, max(bounds.pace_seconds_min, wanted_seconds))

    def _flush(self) -> None:
        """Puts what has come in since the last delivery into the window, and wakes the streams."""
        assert self._window is not None, "only a feed that runs has something to flush"
        self._flush_timer = None
        self._flush_time = asyncio.get_running_loop().time()
        if self._position == self._window.end:
            return  # skipped meanwhile
        traceparents = {event.traceparent for event in self._pending if event.traceparent}
        with self._tracing.batch_span("feed.deliver", list(islice(traceparents, LINKS_MAX))):
            for events, covers_to in _chunks(self._pending, self._position, self._bounds.chunk_events_max):
                self._window.append(events, covers_to)
            self._pending = []
            self._rouse()

    def _rouse(self) -> None:
        for future in self._asleep:
            _settle(future)

    async def _sleep(self, until: float) -> None:
        """Until the window changes, but not beyond the loop's time `until`."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_at(until, _settle, future)
        self._asleep.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._asleep.discard(future)

    # Streams.

    async def _wait_for_start(self) -> Window:
        if self._window is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS_MAX):
                    await self._started.wait()
        if self._window is None:
            raise Unavailable("the feed has not seen the log yet")
        return self._window

    async def _checked(self, resume_token: str, selection: SelectionT, window: Window) -> ResumeToken:
        token = ResumeToken.decode(resume_token)
        if token.log_id != window.log_id:
            raise ResumeTokenForeign("the resume token comes from another log")
        if token.selection_hash != selection.hash:
            raise invalid("it belongs to another filter")
        if token.revision > self._position:
            head = await read_head(self._engine)
            if token.revision > head.revision:
                metadata = {"revision": str(token.revision), "head": str(head.revision)}
                raise ResumeTokenForeign(
                    "the resume token comes from a revision that this log does not have", metadata=metadata
                )
            self._hinted(head.revision)
        return token

    def _require_same(self, window: Window, head: Head, revision: int) -> None:
        if head.log_id != window.log_id or head.revision < revision:
            raise Unavailable("the log was replaced by another one")

    def _count(self, state: State) -> int:
        return sum(1 for subscriber in self._streams if subscriber.state is state)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _chunks(events: Sequence[EventRow], position: int, events_max: int) -> Iterator[tuple[Sequence[EventRow], int]]:
    """Whole revisions, cut where a chunk has `events_max` events or more; the last one reaches to `position`."""
    begin = 0
    for end in range(1, len(events)):
        if end - begin >= events_max and events[end].revision != events[end - 1].revision:
            yield events[begin:end], events[end - 1].revision
            begin = end
    yield events[begin:], position
