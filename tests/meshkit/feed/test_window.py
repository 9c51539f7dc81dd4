from __future__ import annotations

from beautymesh.inventory.v1.watch_pb2 import WatchStockResponse
from meshkit.feed.token import ResumeToken
from meshkit.feed.window import Message, Window, conflate
from meshkit.log.model import EventRow
from tests.meshkit.feed.events import LOG_ID, event
from tests.meshkit.feed.tally import ALL, Keys, TallyStream


def window(*, events_max: int = 100, bytes_max: int = 10**6, start: int = 0) -> Window:
    stream = TallyStream(None)  # type: ignore[arg-type]  # reads no state here
    return Window(stream, LOG_ID, start, events_max=events_max, bytes_max=bytes_max)


def ranges(found: Window, after: int) -> list[tuple[int, int]]:
    return [(chunk.covers_from, chunk.covers_to) for chunk in found.after(after)]


def test_the_window_is_one_gapless_run_up_to_its_end() -> None:
    found = window(start=4)
    found.append([event(5, "a", 1)], 5)
    found.append([event(6, "a", 2)], 9)
    assert (found.floor, found.end) == (4, 9)
    assert ranges(found, 4) == [(4, 5), (5, 9)]
    assert ranges(found, 5) == [(5, 9)]
    assert ranges(found, 7) == [(5, 9)]
    assert ranges(found, 9) == []


def test_the_oldest_chunks_leave_when_there_are_too_many_events() -> None:
    found = window(events_max=2)
    for revision in range(1, 6):
        found.append([event(revision, "a", revision)], revision)
    assert ranges(found, 0) == [(3, 4), (4, 5)]
    assert (found.floor, found.events) == (3, 2)


def test_the_oldest_chunks_leave_when_there_are_too_many_encoded_bytes() -> None:
    found = window(bytes_max=1)
    for revision in range(1, 4):
        found.append([event(revision, "a", revision)], revision)
        for chunk in found.after(revision - 1):
            found.message(chunk, ALL)
    assert ranges(found, 0) == [(2, 3)]
    assert found.encoded_bytes == len(found.message(next(found.after(0)), ALL).data)  # type: ignore[union-attr]  # it has an event


def test_the_newest_chunk_stays_whatever_its_size() -> None:
    found = window(events_max=2)
    found.append([event(1, f"k{index}", 1, index=index) for index in range(5)], 1)
    assert ranges(found, 0) == [(0, 1)]


def test_chunks_without_events_do_not_fill_the_window() -> None:
    found = window()
    found.append([event(1, "a", 1)], 1)
    for revision in range(2, 50):
        found.append([], revision)
    assert ranges(found, 0) == [(0, 1), (1, 49)]
    found.append([event(50, "a", 2)], 50)
    assert ranges(found, 0) == [(0, 1), (1, 50)]


def test_a_message_is_encoded_once_for_each_selection() -> None:
    found = window()
    found.append([event(1, "a", 1), event(1, "b", 1, index=1)], 1)
    (chunk,) = found.after(0)
    assert found.message(chunk, ALL) is found.message(chunk, ALL)
    assert found.message(chunk, Keys(frozenset({"a"}))) is found.message(chunk, Keys(frozenset({"a"})))
    assert found.message(chunk, Keys(frozenset({"a"}))) is not found.message(chunk, ALL)
    assert found.message(chunk, Keys(frozenset({"nothing"}))) is None


def test_bodies_of_several_messages_are_the_body_of_one() -> None:
    stream = TallyStream(None)  # type: ignore[arg-type]  # reads no state here
    messages = [
        Message(number - 1, ResumeToken(LOG_ID, number), stream.deltas([event(number, "a", number)], conflated=False))
        for number in (1, 2, 3)
    ]
    joined = Message(0, ResumeToken(LOG_ID, 3), b"".join(message.body for message in messages))
    response = WatchStockResponse.FromString(joined.data)
    assert (response.position.covers_from, response.position.covers_to) == (0, 3)
    assert [(delta.revision, delta.sellable.after) for delta in response.deltas.deltas] == [(1, 1), (2, 2), (3, 3)]


def test_a_position_of_any_length_precedes_the_body() -> None:
    for cursor in (b"", b"x" * 60, b"x" * 700):
        message = Message(2**62, ResumeToken(LOG_ID, 2**62, b"12345678", cursor), b"")
        response = WatchStockResponse.FromString(message.data)
        assert ResumeToken.decode(response.position.resume_token).cursor == cursor
        assert bytes(message.body) == b""


def _folded(events: list[EventRow]) -> list[tuple[str, int, int, int]]:
    return [(each.key, each.revision, each.balances[0] - each.deltas[0], each.balances[0]) for each in events]


def test_conflation_leaves_one_event_a_key_from_the_first_before_to_the_last_after() -> None:
    events = [
        event(1, "a", 5, delta=5),
        event(2, "b", 1, delta=1),
        event(3, "a", 3, delta=-2),
        event(4, "c", 9, delta=2),
        event(4, "a", 4, delta=1, index=1),
    ]
    assert _folded(conflate(events)) == [("b", 2, 0, 1), ("c", 4, 7, 9), ("a", 4, 0, 4)]


def test_conflation_keeps_a_key_that_came_back_to_where_it_was() -> None:
    assert _folded(conflate([event(1, "a", 5, delta=5), event(2, "a", 0, delta=-5)])) == [("a", 2, 0, 0)]
