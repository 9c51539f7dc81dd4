"""Which availabilities are known, and whether a row or a delta is the newer: the cache without its sockets.

A delta comes from the stream, a row from a fetch, and both name the revision that last changed the entry, so that the
newer one wins whichever comes first. What makes it complete:

    1. A fetch asks for at least the stream's position, so its rows hold all that was told before it was sent.
    2. The deltas that come while it is under way are kept with it, as no entry is there yet to take them.
    3. A stream that begins anew leaves a gap: no entry outlives it, and no fetch that was sent before it is kept.
    4. Only of what is kept does the stream tell. What a caller still holds that is kept no more (used longest ago, or
       of before a new beginning) is known to hold where it was read, and no further.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from beautymesh.common.v1.watch_pb2 import WatchPosition
from beautymesh.inventory.v1.availability_pb2 import BatchGetAvailabilityResponse
from beautymesh.inventory.v1.watch_pb2 import StockDelta
from meshkit.core.errors import MeshError
from meshkit.feed.token import ResumeToken

_LOG_TAG_CHARACTERS = 12
"""The last group of the log's UUID: random, so that two deployments' tags differ."""


@dataclass(slots=True, eq=False)
class Entry:
    """What a channel may sell of a SKU. A change makes a new entry: one that somebody holds stays as it was.

    `revision` last changed it, `read_revision` is the latest at which it was seen; with the stream further on, it still
    holds there. The JSON of answers about it is kept here by whoever makes it first, and is gone with the next change.
    """

    sku: str
    channel: str
    sellable: int
    revision: int
    read_revision: int
    log_tag: str
    etag: str = field(init=False)
    answer_json: bytes = b""
    storefront_json: bytes = b""

    def __post_init__(self) -> None:
        """Made once: an entry is asked for far more often than it changes."""
        self.etag = entity_tag(self.log_tag, self.revision, self.sellable)


def entity_tag(log_tag: str, revision: int, sellable: int) -> str:
    """The tag, without quotes, of a quantity and the revision that last changed it; empty where the log is not known.

    It names the log, so that the tag of another deployment never matches. It has the quantity too: the service gives
    back a lapsed hold's units at once and gives the change its revision up to a second later, so for that second one
    revision has two quantities.
    """
    return f"{log_tag}-{revision}-{sellable}" if log_tag else ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A SKU that the service did not know at `read_revision`, nor at any before: SKUs are never deleted.

    Nothing is told of how long that holds: the stream has quantities, and a SKU may be made known without any.
    """

    sku: str
    channel: str
    read_revision: int
    log_tag: str


Outcome: TypeAlias = Entry | Unknown | MeshError
"""What a fetch gives for one SKU. An error is a result, because one that many await, or none, cannot be raised in a
future without a warning or a growing traceback."""


@dataclass(slots=True, eq=False)
class Fetch:
    """One call to the service, for SKUs of one channel."""

    channel: str
    skus: frozenset[str]
    min_revision: int
    outdated: bool
    """Its rows answer who waits for them, but deltas between them and the stream may be missing: they are not kept."""
    changes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By SKU, the newest delta since it was sent: revision and quantity."""


class Entries:
    """At most `entries_max` entries; the one that was used longest ago goes first."""

    def __init__(self, *, entries_max: int) -> None:
        """Starts empty, and keeps nothing before the stream's first message."""
        self._entries_max = entries_max
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._open: set[Fetch] = set()
        self._log_tag = ""
        self.position = 0
        """The revision up to which the stream was applied; 0 before its first message."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def log_tag(self) -> str:
        """Names the log that the stream is of; empty before its first message."""
        return self._log_tag

    def find(self, sku: str, channel: str) -> Entry | None:
        """The entry, if there is one; from now on it is the last to go."""
        key = (sku, channel)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    # The stream.

    def start_over(self) -> None:
        """Drops everything: a stream begins that does not go on where the last one ended."""
        self._entries.clear()
        self._log_tag, self.position = "", 0
        for fetch in self._open:
            fetch.outdated = True

    def reached(self, position: WatchPosition) -> None:
        """The stream is applied up to here. The first position of a stream says which log it is of."""
        if not self._log_tag:
            self._log_tag = ResumeToken.decode(position.resume_token).log_id[-_LOG_TAG_CHARACTERS:]
        self.position = position.covers_to

    def apply(self, deltas: Iterable[StockDelta]) -> None:
        """Takes what is newer, for entries that are kept or being fetched; all else is nobody's question yet."""
        for delta in deltas:
            change, revision = delta.sellable, delta.revision
            sku, channel = change.sku, change.channel
            entry = self._entries.get((sku, channel))
            if entry is not None and revision > entry.revision:
                # In its old place: to be changed is not to be used.
                self._entries[sku, channel] = Entry(sku, channel, change.after, revision, revision, self._log_tag)
            for fetch in self._open:
                if fetch.channel == channel and sku in fetch.skus:
                    fetch.changes[sku] = max((revision, change.after), fetch.changes.get(sku, (0, 0)))

    # Fetches.

    def begin_fetch(self, channel: str, skus: Iterable[str]) -> Fetch:
        """From now on deltas are kept for its SKUs. The caller closes it with `end_fetch`."""
        fetch = Fetch(channel, frozenset(skus), min_revision=self.position, outdated=not self._log_tag)
        self._open.add(fetch)
        return fetch

    def end_fetch(self, fetch: Fetch) -> None:
        """Whether or not it was answered."""
        self._open.discard(fetch)

    def take(self, fetch: Fetch, response: BatchGetAvailabilityResponse) -> Mapping[str, Entry | Unknown]:
        """What the answer makes, by SKU; its entries are kept unless the fetch is outdated."""
        log_tag = "" if fetch.outdated else self._log_tag
        rows = {row.sku: (row.revision, row.sellable) for row in response.availabilities}
        made: dict[str, Entry | Unknown] = {}
        for sku in (*rows, *(each for each in fetch.skus if each not in rows)):
            changed, sellable = max(rows.get(sku, _NO_ROW), fetch.changes.get(sku, _NO_ROW))
            if changed < 0:
                made[sku] = Unknown(sku, fetch.channel, response.revision, log_tag)
                continue
            entry = Entry(sku, fetch.channel, sellable, changed, max(response.revision, changed), log_tag)
            made[sku] = entry
            if not fetch.outdated:
                self._entries[sku, fetch.channel] = entry
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return made

    def cut(self, found: Sequence[Entry | Unknown]) -> int | None:
        """The latest revision at which all of them hold; None if no such revision is known.

        An entry holds from its last change to where it was last seen, or to the stream's position if it is kept and
        that is further on; what is unknown, from the beginning to where it was asked. A row that was just fetched may
        be of a change that the stream has not told yet, and then the others may be of before it.

        Revisions of two logs say nothing of each other, so all must be of one, and it must be known which.
        """
        logs = {each.log_tag for each in found}
        if len(logs) != 1 or "" in logs:
            return None
        held = [self._held(each) for each in found]
        begin, end = max(first for first, _ in held), min(last for _, last in held)
        return end if begin <= end else None

    def _held(self, each: Entry | Unknown) -> tuple[int, int]:
        """The first and the last revision at which it is known to hold."""
        if isinstance(each, Unknown):
            return 0, each.read_revision
        is_kept = self._entries.get((each.sku, each.channel)) is each
        # Revision 0: it never had any stock, and since when it is known at all nobody says.
        first = each.revision or each.read_revision
        return first, max(self.position, each.read_revision) if is_kept else each.read_revision


_NO_ROW = (-1, 0)
"""Older than any row or delta: a SKU without stock has revision 0."""
