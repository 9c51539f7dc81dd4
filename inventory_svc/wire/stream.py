"""What subscribers see: the inventory's side of the feed.

A delta's `change` is the event's payload as it stands in the log, so encoding an event costs no more than its envelope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from beautymesh.common.v1.watch_pb2 import GoodbyeReason
from beautymesh.inventory.v1 import stock_pb2, watch_pb2
from inventory_svc.domain.stock import Counters, Kind
from inventory_svc.store.keys import LEVEL, SELLABLE, SEPARATOR
from inventory_svc.store.snapshot import StatePage, StockSelection
from inventory_svc.wire.events import KINDS, counters
from meshkit.core.principal import Principal
from meshkit.feed.subscriber import SnapshotPage
from meshkit.feed.token import invalid
from meshkit.log.model import EventRow
from meshkit.rpc.times import timestamp

_LEVEL_PREFIX, _SELLABLE_PREFIX = LEVEL + SEPARATOR, SELLABLE + SEPARATOR
_STREAMED_PREFIXES = (_LEVEL_PREFIX, _SELLABLE_PREFIX)


@dataclass(frozen=True, slots=True)
class StockFilter:
    """A selection as the feed asks for it."""

    selection: StockSelection
    hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Hashes the selection; the one that leaves nothing out has no hash."""
        everything = self.selection == StockSelection()
        object.__setattr__(self, "hash", b"" if everything else sha256(_canonical(self.selection)).digest()[:8])

    def wants(self, event: EventRow) -> bool:
        """Whether a streamed event passes."""
        selection = self.selection
        noun, sku, place, *_ = event.key.split(SEPARATOR)
        if selection.skus and sku not in selection.skus:
            return False
        if noun == LEVEL:
            return selection.levels and (not selection.locations or place in selection.locations)
        return selection.sellable and (not selection.channels or place in selection.channels)


def stock_filter(asked: watch_pb2.StockFilter, principal: Principal) -> StockFilter:
    """What the caller asks for, within what its token covers.

    Raises:
        OutsideGrant: it names a location or channel that its token does not cover.
    """
    for location in asked.locations:
        principal.require_location(location)
    for channel in asked.channels:
        principal.require_channel(channel)
    selection = StockSelection(
        skus=frozenset(asked.skus),
        locations=frozenset(asked.locations) or principal.locations,
        channels=frozenset(asked.channels) or principal.channels,
        levels=not asked.omit_levels,
        sellable=not asked.omit_sellable,
    )
    return StockFilter(selection)


class StockStream:
    """What inventory brings to the feed; see `meshkit.feed.feed.Stream`."""

    def __init__(self, read_page: Callable[[StockSelection, str], Awaitable[StatePage]]) -> None:
        """`read_page` is `inventory_svc.store.snapshot.read_state_page` on an engine."""
        self._read_page = read_page

    def is_streamed(self, event: EventRow) -> bool:
        """Levels and sellable quantities; the catalogue and later expiries are not."""
        return event.key.startswith(_STREAMED_PREFIXES)

    def deltas(self, events: Sequence[EventRow], *, conflated: bool) -> bytes:
        """The events as deltas."""
        body = watch_pb2.WatchStockResponse()
        body.deltas.conflated = conflated
        add = body.deltas.deltas.add
        for event in events:
            delta = add(
                revision=event.revision,
                kind=KINDS[event.kind],
                reference=event.reference,
                record_time=timestamp(event.record_time),
            )
            if event.kind == _SELLABLE_CHANGED:
                delta.sellable.MergeFromString(event.payload)
                if conflated:
                    delta.sellable.before = event.balances[0] - event.deltas[0]
            else:
                delta.level.MergeFromString(event.payload)
                if conflated:
                    before = Counters(*map(int.__sub__, event.balances, event.deltas))
                    delta.level.before.CopyFrom(counters(before))
        return body.SerializeToString()

    def snapshot_complete(self, revision: int) -> bytes:
        """The end of a snapshot's pages."""
        return _body(snapshot_complete=watch_pb2.SnapshotComplete(revision=revision))

    def progress(self) -> bytes:
        """Nothing happened."""
        return _PROGRESS

    def goodbye(self, reason: GoodbyeReason.ValueType) -> bytes:
        """The end of the stream."""
        return _body(goodbye=watch_pb2.Goodbye(reason=reason))

    async def read_state(self, selection: StockFilter, cursor: bytes) -> SnapshotPage:
        """The page of rows after a cursor, which is the key of the last row.

        Raises:
            ResumeTokenInvalid: the cursor is none of ours.
        """
        try:
            page = await self._read_page(selection.selection, cursor.decode())
        except ValueError as fault:
            raise invalid("it points to no row") from fault
        snapshot = watch_pb2.StockSnapshot(
            levels=[
                stock_pb2.StockLevel(
                    sku=key.sku,
                    location=key.location,
                    lot=key.lot,
                    counters=counters(level.counters),
                    available=level.counters.available,
                    revision=level.revision,
                )
                for key, level in page.levels
            ],
            sellable=[
                watch_pb2.SellableLevel(sku=key.sku, channel=key.channel, sellable=entry.units, revision=entry.revision)
                for key, entry in page.sellable
            ],
        )
        return SnapshotPage(_body(snapshot=snapshot), page.next_key.encode(), page.last, page.head)


def _body(**body: Any) -> bytes:  # noqa: ANN401 — the fields of `oneof body`
    return watch_pb2.WatchStockResponse(**body).SerializeToString()


_PROGRESS = _body(progress=watch_pb2.Progress())
_SELLABLE_CHANGED = Kind.SELLABLE_CHANGED.value


def _canonical(selection: StockSelection) -> bytes:
    """The same bytes for equal selections, in every process."""
    sets = (selection.skus, selection.locations, selection.channels)
    return repr((*map(sorted, sets), selection.levels, selection.sellable)).encode()
