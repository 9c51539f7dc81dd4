"""The state machine of one stream, without a loop, a clock or a database."""

from __future__ import annotations

import pytest

from beautymesh.common.v1.watch_pb2 import GOODBYE_REASON_DRAINING
from beautymesh.inventory.v1.watch_pb2 import StockSnapshot, WatchStockResponse
from meshkit.feed.subscriber import End, ReadLog, ReadState, Rhythm, Send, SnapshotPage, State, Step, Subscriber, Wait
from meshkit.feed.token import ResumeToken
from meshkit.feed.window import Window
from tests.meshkit.feed.events import LOG_ID, event, head, page
from tests.meshkit.feed.tally import ALL, NOTE, Keys, TallyStream

STREAM = TallyStream(None)  # type: ignore[arg-type]  # reads no state here
RHYTHM = Rhythm(end_time=1000.0)


def window(start: int = 10, *, events_max: int = 4) -> Window:
    return Window(STREAM, LOG_ID, start, events_max=events_max, bytes_max=10**6)


def subscriber(
    found: Window, *, at: int | None = None, selection: Keys = ALL, cursor: bytes | None = None, snapshot: bool = True
) -> Subscriber:
    token = ResumeToken(LOG_ID, at, selection.hash, cursor) if at is not None else None
    return Subscriber(
        found,
        STREAM,
        selection,
        token=token,
        with_snapshot=snapshot,
        every_revision=False,
        rhythm=RHYTHM,
        now=0.0,
    )


def sent(step: Step) -> WatchStockResponse:
    assert isinstance(step, Send), step
    return WatchStockResponse.FromString(step.data)


def told(step: Step) -> tuple[int, int, str | None]:
    message = sent(step)
    return message.position.covers_from, message.position.covers_to, message.WhichOneof("body")


def rows(cursor: bytes, *, last: bool, revision: int) -> SnapshotPage:
    return SnapshotPage(WatchStockResponse(snapshot=StockSnapshot()).SerializeToString(), cursor, last, head(revision))


def test_a_resumed_stream_hears_at_once_that_it_stands_again() -> None:
    stream = subscriber(window(), at=10)
    assert told(stream.next(0.0)) == (10, 10, "progress")
    assert stream.next(0.0) == Wait(15.0)


def test_a_synced_stream_waits_for_its_heartbeat() -> None:
    stream = subscriber(window(), at=10)
    assert stream.state is State.SYNCED
    sent(stream.next(0.0))
    assert stream.next(0.0) == Wait(15.0)
    assert told(stream.next(15.0)) == (10, 10, "progress")
    assert stream.next(15.0) == Wait(30.0)


def test_a_filtered_stream_says_at_most_every_second_that_it_went_on() -> None:
    found = window()
    stream = subscriber(found, at=10, selection=Keys(frozenset({"mine"})))
    sent(stream.next(0.0))
    found.append([event(11, "other", 1)], 11)
    assert stream.next(0.5) == Wait(1.0)
    found.append([event(12, "other", 2)], 12)
    assert told(stream.next(1.0)) == (10, 12, "progress")
    found.append([event(13, "mine", 1)], 13)
    assert told(stream.next(1.1)) == (12, 13, "deltas")


def test_a_stream_takes_up_what_the_filter_left_silent_into_its_next_message() -> None:
    found = window()
    stream = subscriber(found, at=10, selection=Keys(frozenset({"mine"})))
    sent(stream.next(0.0))
    found.append([event(11, "other", 1)], 11)
    assert isinstance(stream.next(0.1), Wait)
    found.append([event(12, "mine", 1)], 12)
    assert told(stream.next(0.2)) == (10, 12, "deltas")


def test_a_stream_that_comes_into_the_middle_of_a_chunk_gets_the_rest_of_it() -> None:
    found = window()
    found.append([event(11, "a", 1), event(12, "a", 2), event(13, "a", 3)], 13)
    message = sent(subscriber(found, at=12).next(0.0))
    assert (message.position.covers_from, message.position.covers_to) == (12, 13)
    assert [delta.revision for delta in message.deltas.deltas] == [13]


def test_a_stream_below_the_window_reads_the_log_until_it_reaches_it() -> None:
    found = window()
    stream = subscriber(found, at=3)
    states = [stream.state]
    assert stream.next(0.0) == ReadLog(3)
    stream.log_read(page(3, event(4, "a", 1), event(5, "a", 2), event(5, "b", 1, index=1), head_revision=10))
    message = sent(stream.next(0.0))
    assert message.deltas.conflated
    assert [
        (each.revision, each.sellable.sku, each.sellable.before, each.sellable.after) for each in message.deltas.deltas
    ] == [
        (5, "a", 0, 2),
        (5, "b", 0, 1),
    ]
    assert stream.next(0.0) == ReadLog(5)
    stream.log_read(page(5, *(event(revision, NOTE, 0, kind=NOTE) for revision in range(6, 11))))
    states.append(stream.state)
    assert stream.next(0.0) == Wait(1.0)
    assert states == [State.CATCHING_UP, State.SYNCED]


def test_a_stream_that_read_beyond_the_window_waits_for_it() -> None:
    found = window()
    stream = subscriber(found, at=9)
    assert stream.next(0.0) == ReadLog(9)
    stream.log_read(page(9, event(10, "a", 1), event(11, "a", 2), event(12, "a", 3)))
    assert told(stream.next(0.0)) == (9, 12, "deltas")
    found.append([event(11, "a", 2), event(12, "a", 3)], 12)
    assert isinstance(stream.next(0.0), Wait)
    found.append([event(13, "a", 4)], 13)
    assert told(stream.next(0.0)) == (12, 13, "deltas")


@pytest.mark.parametrize("found", [page(3, event(7, "a", 1)), page(3, head_revision=10)])
def test_a_stream_below_the_retained_log_begins_a_snapshot(found: object) -> None:
    stream = subscriber(window(), at=3)
    stream.next(0.0)
    stream.log_read(found)  # type: ignore[arg-type]  # a page
    assert stream.state is State.SNAPSHOTTING
    assert stream.next(0.0) == ReadState(b"")
    stream.state_read(rows(b"k", last=True, revision=20))
    assert told(stream.next(0.0)) == (3, 20, "snapshot")
    assert told(stream.next(0.0)) == (20, 20, "snapshot_complete")


def test_deltas_go_on_from_the_head_of_the_first_page() -> None:
    found = window()
    stream = subscriber(found)
    assert stream.next(0.0) == ReadState(b"")
    stream.state_read(rows(b"k7", last=False, revision=10))
    first = sent(stream.next(0.0))
    assert ResumeToken.decode(first.position.resume_token) == ResumeToken(LOG_ID, 10, b"", b"k7")
    found.append([event(11, "a", 1)], 11)
    assert stream.next(0.0) == ReadState(b"k7")
    stream.state_read(rows(b"k9", last=True, revision=11))
    assert told(stream.next(0.0)) == (10, 10, "snapshot")
    complete = sent(stream.next(0.0))
    assert complete.snapshot_complete.revision == 11
    assert ResumeToken.decode(complete.position.resume_token) == ResumeToken(LOG_ID, 10)
    assert told(stream.next(0.0)) == (10, 11, "deltas")


def test_a_resumed_snapshot_keeps_the_head_that_it_began_with() -> None:
    stream = subscriber(window(), at=5, cursor=b"k7")
    assert stream.next(0.0) == ReadState(b"k7")
    stream.state_read(rows(b"k9", last=True, revision=20))
    assert told(stream.next(0.0)) == (5, 5, "snapshot")
    assert told(stream.next(0.0)) == (5, 5, "snapshot_complete")
    assert stream.next(0.0) == ReadLog(5)


def test_a_goodbye_before_the_first_page_begins_the_snapshot_anew() -> None:
    stream = subscriber(window())
    stream.end(GOODBYE_REASON_DRAINING)
    goodbye = sent(stream.next(0.0))
    resumed = ResumeToken.decode(goodbye.position.resume_token)
    assert subscriber(window(), at=resumed.revision, cursor=resumed.cursor).next(0.0) == ReadState(b"")


def test_a_goodbye_comes_after_what_was_read_and_is_the_end() -> None:
    stream = subscriber(window(), at=3)
    stream.next(0.0)
    stream.log_read(page(3, event(4, "a", 1), head_revision=10))
    stream.end(GOODBYE_REASON_DRAINING)
    assert told(stream.next(0.0)) == (3, 4, "deltas")
    assert told(stream.next(0.0)) == (4, 4, "goodbye")
    assert stream.next(0.0) == End()


def test_a_stream_ends_when_it_is_old() -> None:
    stream = subscriber(window(), at=10)
    assert told(stream.next(RHYTHM.end_time)) == (10, 10, "goodbye")
    assert stream.next(RHYTHM.end_time) == End()
