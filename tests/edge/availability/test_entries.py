"""Whatever the order of writes, deltas, fetches and new beginnings, what is kept is what the log says."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1.availability_pb2 import Availability
from edge_gateway.clients.entries import Entries, Entry, Fetch, Unknown
from meshkit.feed.token import ResumeToken
from tests.edge.availability.fake import LOG, OTHER_LOG, Response, delta, row
from tests.sizes import SIZES

SKUS = st.sampled_from(["A", "B", "C"])


class EntriesMachine(RuleBasedStateMachine):
    """The log is a list: the SKU and its new quantity, by revision from 1. None: it was made known, without stock.

    A caller holds what he found in memory, or was answered, while memory goes on.
    """

    fetches = Bundle("fetches")

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, int | None]] = []
        self.held: dict[str, Entry | Unknown] = {}
        self.entries = Entries(entries_max=2)
        self.told: int | None = None

    def state(self, sku: str, revision: int) -> tuple[int, int] | None:
        """Revision of the last change up to `revision`, and the quantity since then; None if it is unknown then."""
        lines = [(number, units) for number, (code, units) in enumerate(self.log[:revision], 1) if code == sku]
        changes = [(number, units) for number, units in lines if units is not None]
        return changes[-1] if changes else (0, 0) if lines else None

    @rule(sku=SKUS, units=st.integers(0, 3))
    def write(self, sku: str, units: int) -> None:
        self.log.append((sku, units))

    @rule(sku=SKUS)
    def make_known(self, sku: str) -> None:
        if self.state(sku, len(self.log)) is None:
            self.log.append((sku, None))

    @rule(sku=SKUS)
    def hold(self, sku: str) -> None:
        entry = self.entries.find(sku, "default")
        if entry is not None:
            self.held[sku] = entry

    @rule(rarely=st.integers(0, 9))
    def begin_stream(self, rarely: int) -> None:
        """With nothing to resume: from now on."""
        if rarely == 0:
            self.entries.start_over()
            self.told = None

    @rule(upto=st.integers(1, 2), conflated=st.booleans())
    def tell(self, upto: int, conflated: bool) -> None:  # noqa: FBT001 — hypothesis gives it
        begin = len(self.log) if self.told is None else self.told
        end = len(self.log) if self.told is None else min(len(self.log), begin + upto)
        lines = enumerate(self.log[begin:end], begin + 1)
        deltas = [delta(sku, units, number) for number, (sku, units) in lines if units is not None]
        if conflated:
            deltas = list({each.sellable.sku: each for each in deltas}.values())
        self.entries.apply(deltas)
        token = ResumeToken(LOG, end).encode()
        self.entries.reached(WatchPosition(covers_from=begin, covers_to=end, resume_token=token))
        self.told = end

    @rule(target=fetches, skus=st.sets(SKUS, min_size=1, max_size=2))
    def begin_fetch(self, skus: set[str]) -> Fetch:
        return self.entries.begin_fetch("default", skus)

    @rule(fetch=consumes(fetches), behind=st.integers(0, 1))
    def end_fetch(self, fetch: Fetch, behind: int) -> None:
        """The answer was read at any revision from the one asked for to the head."""
        revision = max(fetch.min_revision, len(self.log) - behind, 0)
        states = {sku: self.state(sku, revision) for sku in fetch.skus}
        rows = [row(sku, known[1], known[0]) for sku, known in states.items() if known is not None]
        unknown = [sku for sku, known in states.items() if known is None]
        made = self.entries.take(fetch, Response(availabilities=rows, unknown_skus=unknown, revision=revision))
        self.entries.end_fetch(fetch)
        assert set(made) == set(fetch.skus)
        self.held |= made

    @invariant()
    def what_is_answered_together_was_the_state_at_one_revision(self) -> None:
        now = {sku: entry for sku in ("A", "B", "C") if (entry := self.entries.find(sku, "default")) is not None}
        for found in (list(now.values()), list(self.held.values()), list((self.held | now).values())):
            revision = self.entries.cut(found)
            if revision is not None:
                assert [self.state(each.sku, revision) for each in found] == [
                    (each.revision, each.sellable) if isinstance(each, Entry) else None for each in found
                ]

    @invariant()
    def what_is_kept_is_the_state_at_the_position(self) -> None:
        assert len(self.entries) <= 2
        for sku in ("A", "B", "C"):
            entry = self.entries.find(sku, "default")
            if entry is not None:
                assert self.told is not None
                seen = max(self.entries.position, entry.read_revision)
                assert (entry.revision, entry.sellable) == self.state(sku, seen)


TestEntries = EntriesMachine.TestCase
TestEntries.settings = settings(
    max_examples=20 * SIZES.stock_machine_examples, stateful_step_count=SIZES.stock_machine_steps, deadline=None
)


def test_the_entry_that_was_used_longest_ago_goes_first() -> None:
    entries = Entries(entries_max=2)
    entries.reached(WatchPosition(covers_to=1, resume_token=ResumeToken(LOG, 1).encode()))
    for sku in ("A", "B"):
        entries.take(entries.begin_fetch("default", ()), Response(availabilities=[row(sku, 1, 1)], revision=1))
    entries.find("A", "default")
    entries.apply([delta("B", 5, 2)])  # to be changed is not to be used
    entries.take(entries.begin_fetch("default", ()), Response(availabilities=[row("C", 1, 1)], revision=1))
    assert [entries.find(sku, "default") is not None for sku in ("A", "B", "C")] == [True, False, True]


CUTS = [
    # (row, revision it was read at) of each, the stream's position, where all of them hold
    ([(row("A", 1, 3), 7), (row("B", 1, 5), 7)], 7, 7),
    ([(row("A", 1, 3), 7), (row("B", 1, 5), 9)], 7, 7),
    ([(row("A", 1, 3), 7), (row("B", 1, 8), 9)], 7, None),
    ([(row("A", 1, 3), 8), (row("B", 1, 8), 9)], 7, 8),
    ([(row("A", 1, 9), 9)], 7, 9),
    ([], 7, None),
    # an unknown SKU has no row
    ([(row("A", 1, 3), 7), (None, 7)], 9, 7),
    ([(row("A", 1, 8), 9), (None, 7)], 9, None),
    ([(None, 7), (None, 8)], 9, 7),
    # one without stock may have been unknown until it was read
    ([(row("A", 0, 0), 8), (None, 7)], 9, None),
    ([(row("A", 0, 0), 7), (row("B", 1, 5), 9)], 9, 9),
]


@pytest.mark.parametrize(("rows", "position", "expected"), CUTS)
def test_several_are_answered_at_a_revision_at_which_all_of_them_hold(
    rows: list[tuple[Availability | None, int]], position: int, expected: int | None
) -> None:
    entries = Entries(entries_max=9)
    reach(entries, position)
    assert entries.cut([fetched(entries, each, revision) for each, revision in rows]) == expected


def reach(entries: Entries, position: int, log_id: str = LOG) -> None:
    """The stream is applied up to here."""
    entries.reached(WatchPosition(covers_to=position, resume_token=ResumeToken(log_id, position).encode()))


def fetched(entries: Entries, known: Availability | None, revision: int) -> Entry | Unknown:
    """What a fetch makes of this row, or of X where there is none."""
    rows, sku = ([], "X") if known is None else ([known], known.sku)
    fetch = entries.begin_fetch("default", [sku])
    (made,) = entries.take(fetch, Response(availabilities=rows, revision=revision)).values()
    entries.end_fetch(fetch)
    return made


def test_what_is_kept_no_more_holds_no_further_than_it_was_read() -> None:
    entries = Entries(entries_max=1)
    reach(entries, 7)
    evicted = fetched(entries, row("A", 8, 5), 7)
    kept = fetched(entries, row("B", 2, 6), 7)
    entries.apply([delta("A", 0, 9)])
    reach(entries, 9)
    assert (entries.cut([evicted, kept]), entries.cut([kept])) == (7, 9)
    entries.apply([delta("B", 1, 10)])
    reach(entries, 10)
    changed = entries.find("B", "default")
    assert changed is not None
    assert entries.cut([evicted, changed]) is None


def test_revisions_of_two_logs_or_of_one_that_is_not_known_have_none_in_common() -> None:
    entries = Entries(entries_max=9)
    nameless = fetched(entries, row("A", 8, 5), 7)
    reach(entries, 7)
    old = fetched(entries, row("B", 2, 6), 7)
    entries.start_over()
    reach(entries, 7, OTHER_LOG)
    new = fetched(entries, row("C", 3, 6), 7)
    assert [entries.cut(found) for found in ([nameless], [nameless, new], [old, new], [old], [new])] == [
        None,
        None,
        None,
        7,
        7,
    ]


def test_a_delta_makes_known_what_the_answer_does_not_know_yet() -> None:
    entries = Entries(entries_max=9)
    reach(entries, 7)
    fetch = entries.begin_fetch("default", ["X"])
    entries.apply([delta("X", 4, 9)])
    reach(entries, 9)
    (made,) = entries.take(fetch, Response(unknown_skus=["X"], revision=7)).values()
    assert isinstance(made, Entry)
    assert (made.sellable, made.revision, entries.find("X", "default")) == (4, 9, made)
