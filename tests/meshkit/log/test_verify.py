"""The chain check finds every way in which a log can be broken, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meshkit.log.batch import chain
from meshkit.log.model import EventRow
from meshkit.log.verify import ChainCheck

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sound_log() -> list[EventRow]:
    """Five revisions of two events each: k rises by one, and j by ten."""
    events: list[EventRow] = []
    digest = chain(b"", [])
    for revision in range(1, 6):
        pair = [("k", 1, revision), ("j", 10, 10 * revision)]
        payloads = [f"{key}{delta:+}".encode() for key, delta, _ in pair]
        digest = chain(digest, payloads)
        for index, (key, delta, balance) in enumerate(pair):
            events.append(
                EventRow(
                    revision, index, "tallied", key, payloads[index], (delta,), (balance,), "user:ann", "client:one",
                    "", "", f"r{revision}", "", T0, T0 + timedelta(seconds=revision), digest if index == 0 else None,
                )
            )  # fmt: skip
    return events


def test_a_sound_log_has_no_problems() -> None:
    assert ChainCheck().take(sound_log()) == []


def test_a_log_may_be_taken_in_pieces() -> None:
    check = ChainCheck()
    events = sound_log()
    assert [check.take(events[:4]), check.take(events[4:6]), check.take([]), check.take(events[6:])] == [[], [], [], []]
    assert (check.revision, check.hash, check.balances) == (5, events[-2].hash, {"k": (5,), "j": (50,)})


BROKEN = [
    # what is done to the event at a position (None: it is deleted), the rules that must be named, at which revision
    ("a payload", 4, {"payload": b"k+2"}, [("hashes chain", "revision 3")]),
    ("a payload that is not the first of its revision", 5, {"payload": b"j+9"}, [("hashes chain", "revision 3")]),
    ("a hash", 4, {"hash": b"\0" * 32}, [("hashes chain", "revision 3"), ("hashes chain", "revision 4")]),
    ("a balance", 4, {"balances": (7,)}, [
        ("balance is the balance before plus the delta", "revision 3 index 0 key 'k'"),
        ("balance is the balance before plus the delta", "revision 4 index 0 key 'k'"),
    ]),
    ("a delta", 5, {"deltas": (11,)}, [("balance is the balance before plus the delta", "revision 3 index 1 key 'j'")]),
    ("a first balance", 0, {"balances": (3,), "deltas": (1,)}, [
        ("balance is the balance before plus the delta", "revision 1 index 0 key 'k'"),
        ("balance is the balance before plus the delta", "revision 2 index 0 key 'k'"),
    ]),
    ("a time", 4, {"record_time": T0}, [("record time never falls", "revision 3")]),
    ("a second event", 5, None, [
        ("hashes chain", "revision 3"), ("balance is the balance before plus the delta", "revision 4 index 1 key 'j'")
    ]),
    ("a first event", 4, None, [
        ("indexes count from zero", "revision 3"), ("hashes chain", "revision 3"),
        ("balance is the balance before plus the delta", "revision 4 index 0 key 'k'"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("position", "change", "problems"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_a_tampered_event_is_named(
    position: int, change: dict[str, object] | None, problems: list[tuple[str, str]]
) -> None:
    events = sound_log()
    if change is None:
        del events[position]
    else:
        events[position] = replace(events[position], **change)  # type: ignore[arg-type]  # the fields of the table
    found = {(problem.rule, problem.subject) for problem in ChainCheck().take(events)}
    assert found >= set(problems)
    assert {subject.split(" index")[0] for _, subject in found} == {
        subject.split(" index")[0] for _, subject in problems
    }


def test_a_missing_revision_is_named() -> None:
    events = sound_log()
    del events[4:6]
    problems = ChainCheck().take(events)
    assert ("revisions are contiguous", "revision 4", "3", "4") in {
        (each.rule, each.subject, each.expected, each.actual) for each in problems
    }


def test_swapped_revisions_are_named() -> None:
    events = sound_log()
    events[4:6], events[6:8] = events[6:8], events[4:6]
    assert {problem.rule for problem in ChainCheck().take(events)} >= {
        "revisions are contiguous",
        "hashes chain",
        "record time never falls",
    }


def test_where_old_revisions_were_deleted_the_first_ones_are_believed() -> None:
    assert ChainCheck(truncated=True).take(sound_log()[4:]) == []


def test_a_log_that_is_meant_to_be_whole_begins_at_revision_one() -> None:
    (problem,) = [each for each in ChainCheck().take(sound_log()[2:]) if each.rule == "revisions are contiguous"]
    assert (problem.subject, problem.expected, problem.actual) == ("revision 2", "1", "2")


def test_where_old_revisions_were_deleted_the_first_event_of_each_key_is_believed() -> None:
    later = replace(sound_log()[0], revision=8, payload=b"k+1", balances=(4,), hash=b"believed")
    check = ChainCheck(truncated=True)
    assert check.take([later]) == []
    digest = chain(b"believed", [b"j+10"])
    other = replace(later, revision=9, key="j", payload=b"j+10", deltas=(10,), balances=(70,), hash=digest)
    assert check.take([other]) == []
