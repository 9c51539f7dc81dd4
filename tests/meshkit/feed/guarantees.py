"""One validator for each guarantee of the feed. Each takes what a client saw, over all its connections, and the log.

A validator answers with the first violation in words; None if there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beautymesh.inventory.v1.watch_pb2 import WatchStockResponse
from meshkit.feed.token import ResumeToken
from meshkit.log.model import EventRow
from tests.meshkit.feed.tally import TALLY, Keys


@dataclass(frozen=True)
class Trace:
    """What one client saw: its messages in order, and how many of them belong to each connection."""

    messages: Sequence[WatchStockResponse]
    selection: Keys
    log: Sequence[EventRow]

    def wanted(self, covers_from: int, covers_to: int) -> list[EventRow]:
        """The events of a range that the client has to learn of."""
        return [
            event
            for event in self.log
            if covers_from < event.revision <= covers_to
            and event.kind == TALLY
            and (not self.selection.keys or event.key in self.selection.keys)
        ]


def ordered(trace: Trace) -> str | None:
    """F1: revisions rise within a message and from message to message."""
    last = 0
    for message in trace.messages:
        for delta in message.deltas.deltas:
            if delta.revision < last:
                return f"revision {delta.revision} after {last}"
            last = delta.revision
    return None


def unique(trace: Trace) -> str | None:
    """F2: no change of a key at a revision comes twice."""
    seen = set()
    for message in trace.messages:
        for delta in message.deltas.deltas:
            change = (delta.revision, delta.sellable.sku)
            if change in seen:
                return f"{change} came twice"
            seen.add(change)
    return None


def reliable(trace: Trace) -> str | None:
    """F3: every event that passes the filter is there; conflated, every key that changed."""
    for message in trace.messages:
        if message.WhichOneof("body") not in {"deltas", "progress", "goodbye"}:
            continue
        position = message.position
        events = trace.wanted(position.covers_from, position.covers_to)
        told = {(delta.revision, delta.sellable.sku) for delta in message.deltas.deltas}
        newest = {event.key: event.revision for event in events}
        due = {(event.revision, event.key) for event in events}
        if message.deltas.conflated:
            due = {(revision, key) for key, revision in newest.items()}
        if told != due:
            return f"({position.covers_from}, {position.covers_to}]: missing {due - told}, invented {told - due}"
    return None


def atomic(trace: Trace) -> str | None:
    """F4: the deltas of one revision stand in one message, which accounts for the revision."""
    home: dict[int, int] = {}
    for number, message in enumerate(trace.messages):
        for delta in message.deltas.deltas:
            if home.setdefault(delta.revision, number) != number:
                return f"revision {delta.revision} is in messages {home[delta.revision]} and {number}"
            if not message.position.covers_from < delta.revision <= message.position.covers_to:
                return f"revision {delta.revision} is outside of its message's range"
    return None


def resumable(trace: Trace) -> str | None:
    """F5: every message has a token of this log for the revision that it reaches."""
    for message in trace.messages:
        token = ResumeToken.decode(message.position.resume_token)
        if (token.revision, token.selection_hash) != (message.position.covers_to, trace.selection.hash):
            return f"{token} in a message up to {message.position.covers_to}"
    return None


def bookmarkable(trace: Trace) -> str | None:
    """F6: the ranges follow one another without a gap, also over connections."""
    covers_to = trace.messages[0].position.covers_from
    for message in trace.messages:
        if message.position.covers_from != covers_to:
            return f"({message.position.covers_from}, {message.position.covers_to}] after {covers_to}"
        covers_to = message.position.covers_to
    return None


def consistent(trace: Trace) -> str | None:
    """F7: from `snapshot_complete.revision` on, rows and the deltas newer than them are the state of the log."""
    rows: dict[str, tuple[int, int]] = {}
    cut: int | None = None
    in_snapshot = False
    for message in trace.messages:
        body = message.WhichOneof("body")
        if body == "snapshot":
            if not in_snapshot:
                rows.clear()
            in_snapshot = True
            rows |= {row.sku: (row.revision, row.sellable) for row in message.snapshot.sellable}
        if body == "snapshot_complete":
            in_snapshot = False
            cut = message.snapshot_complete.revision
        for delta in message.deltas.deltas:
            key = delta.sellable.sku
            if delta.revision > rows.get(key, (0, 0))[0]:
                rows[key] = (delta.revision, delta.sellable.after)
        if cut is not None and not in_snapshot and message.position.covers_to >= cut:
            state = {
                event.key: (event.revision, event.balances[0]) for event in trace.wanted(0, message.position.covers_to)
            }
            if rows != state:
                wrong = {
                    key: (rows.get(key), state.get(key)) for key in rows | state if rows.get(key) != state.get(key)
                }
                return f"at {message.position.covers_to}, client and log: {wrong}"
    return None


def truthful(trace: Trace) -> str | None:
    """F8: `after` is the log's balance; `before` the one that the client knows, or the log's where it knows none."""
    balances = {(event.revision, event.key): event.balances[0] for event in trace.log if event.kind == TALLY}
    known: dict[str, int] = {}
    for message in trace.messages:
        if message.WhichOneof("body") == "snapshot":
            known.clear()
        for delta in message.deltas.deltas:
            key, before, after = delta.sellable.sku, delta.sellable.before, delta.sellable.after
            if balances.get((delta.revision, key)) != after:
                return f"{key} at {delta.revision}: {after}, and {balances.get((delta.revision, key))} in the log"
            earlier = [event.balances[0] for event in trace.wanted(0, message.position.covers_from) if event.key == key]
            expected = known.get(key, earlier[-1] if earlier else 0)
            if before != expected:
                return f"{key} at {delta.revision}: before is {before}, was {expected}"
            known[key] = after
    return None


VALIDATORS: Sequence[Callable[[Trace], str | None]] = (
    ordered,
    unique,
    reliable,
    atomic,
    resumable,
    bookmarkable,
    consistent,
    truthful,
)


def violations(trace: Trace) -> dict[str, str]:
    """What each guarantee has to complain about."""
    found = {validator.__name__: validator(trace) for validator in VALIDATORS}
    return {name: violation for name, violation in found.items() if violation is not None}
