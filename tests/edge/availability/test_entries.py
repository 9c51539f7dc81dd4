"""Whatever the order of writes, deltas, fetches and new beginnings, what is kept is what the log says."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1.availability_pb2 import Availability
from edge_gateway.clients.entries import Entries, Fetch
from meshkit.feed.token import ResumeToken
from tests.edge.availability.fake import LOG, Response, delta, row
from tests.sizes import SIZES

SKUS = st.sampled_from(["A", "B", "C"])


class EntriesMachine(RuleBasedStateMachine):
    """The log is a list: the SKU and its new quantity, by revision from 1."""

    fetches = Bundle("fetches")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log: list[tuple[str, int]] = []
        self.entries = Entries(entries_max=2)
        self.told: int | None = None

    def teardown(self) -> None:
        self.loop.close()

    def state(self, sku: str, revision: int) -> tuple[int, int]:
        """Revision of the last change up to `revision`, and the quantity since then."""
        changes = [(number, units) for number, (code, units) in enumerate(self.log[:revision], 1) if code == sku]
        return changes[-1] if changes else (0, 0)

    @rule(sku=SKUS, units=st.integers(0, 3))
    def write(self, sku: str, units: int) -> None:
        self.log.append((sku, units))

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
        deltas = [delta(sku, units, begin + index) for index, (sku, units) in enumerate(self.log[begin:end], 1)]
        if conflated:
            deltas = list({each.sellable.sku: each for each in deltas}.values())
        self.entries.apply(deltas)
        token = ResumeToken(LOG, end).encode()
        self.entries.reached(WatchPosition(covers_from=begin, covers_to=end, resume_token=token))
        self.told = end

    @rule(target=fetches, skus=st.sets(SKUS, min_size=1, max_size=2))
    def begin_fetch(self, skus: set[str]) -> Fetch:
        return self.entries.begin_fetch("default", {sku: self.loop.create_future() for sku in skus})

    @rule(fetch=consumes(fetches), behind=st.integers(0, 1))
    def end_fetch(self, fetch: Fetch, behind: int) -> None:
        """The answer was read at any revision from the one asked for to the head."""
        revision = max(fetch.min_revision, len(self.log) - behind, 0)
        rows = []
        for sku in fetch.waiters:
            changed, units = self.state(sku, revision)
            rows.append(row(sku, units, changed))
        made = self.entries.take(fetch, Response(availabilities=rows, revision=revision))
        self.entries.end_fetch(fetch)
        assert set(made) == set(fetch.waiters)

    @invariant()
    def what_is_answered_together_was_the_state_at_one_revision(self) -> None:
        found = [entry for sku in ("A", "B", "C") if (entry := self.entries.find(sku, "default")) is not None]
        revision = self.entries.cut(found)
        if revision is not None:
            assert [self.state(entry.sku, revision) for entry in found] == [(e.revision, e.sellable) for e in found]

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
        entries.take(entries.begin_fetch("default", {}), Response(availabilities=[row(sku, 1, 1)], revision=1))
    entries.find("A", "default")
    entries.apply([delta("B", 5, 2)])  # to be changed is not to be used
    entries.take(entries.begin_fetch("default", {}), Response(availabilities=[row("C", 1, 1)], revision=1))
    assert [entries.find(sku, "default") is not None for sku in ("A", "B", "C")] == [True, False, True]


CUTS = [
    # (row, revision it was read at) of each, the stream's position, where all of them hold
    ([(row("A", 1, 3), 7), (row("B", 1, 5), 7)], 7, 7),
    ([(row("A", 1, 3), 7), (row("B", 1, 5), 9)], 7, 7),
    ([(row("A", 1, 3), 7), (row("B", 1, 8), 9)], 7, None),
    ([(row("A", 1, 3), 8), (row("B", 1, 8), 9)], 7, 8),
    ([(row("A", 1, 9), 9)], 7, 9),
    ([], 7, 7),
]


@pytest.mark.parametrize(("rows", "position", "expected"), CUTS)
def test_several_entries_are_answered_at_a_revision_at_which_all_of_them_hold(
    rows: list[tuple[Availability, int]], position: int, expected: int | None
) -> None:
    entries = Entries(entries_max=9)
    entries.reached(WatchPosition(covers_to=position, resume_token=ResumeToken(LOG, position).encode()))
    made = [
        entries.take(entries.begin_fetch("default", {}), Response(availabilities=[each], revision=revision))
        for each, revision in rows
    ]
    assert entries.cut([entry for each in made for entry in each.values()]) == expected
