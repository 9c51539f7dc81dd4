"""`beautymesh watch`: stock changes as they happen; a live table in a terminal, lines anywhere else."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.live import Live
from rich.table import Table

from beautymesh.inventory.v1 import inventory_pb2_grpc, stock_pb2, watch_pb2
from meshctl.ready import AddressOption, Endpoint, ReadyFileOption, TokenOption, find_inventory, run
from meshkit.core.errors import Kind, MeshError

ROWS_MAX = 200
"""Deltas kept for the table; a terminal shows fewer."""
RATE_SECONDS = 5.0
"""The span that the rate is measured over."""
RETRY_SECONDS = 1.0
FRAMES_PER_SECOND = 8
HEADER_LINES = 5
_PASSING = {Kind.UNAVAILABLE, Kind.INTERNAL}


def command(
    *,
    sku: Annotated[list[str] | None, typer.Option(help="Only this SKU; may be given several times.")] = None,
    location: Annotated[list[str] | None, typer.Option(help="Only levels of this location, or several.")] = None,
    from_now: Annotated[bool, typer.Option("--from-now", help="Leave out the present state.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a message, as the stream has it.")] = False,
    ready_file: ReadyFileOption = None,
    address: AddressOption = None,
    token: TokenOption = None,
) -> None:
    """Show stock changes as they happen, until Ctrl-C."""
    endpoint = find_inventory(ready_file=ready_file, address=address, token=token)
    request = watch_pb2.WatchStockRequest(
        filter=watch_pb2.StockFilter(skus=sku or (), locations=location or (), omit_sellable=bool(location)),
        skip_snapshot=from_now,
    )
    console = Console()
    with suppress(KeyboardInterrupt):
        if json:
            run(_print_json(follow(endpoint, request)))
        elif console.is_terminal:
            run(_show_table(follow(endpoint, request), console))
        else:
            run(_print_lines(follow(endpoint, request)))


async def follow(
    endpoint: Endpoint, request: watch_pb2.WatchStockRequest
) -> AsyncIterator[watch_pb2.WatchStockResponse]:
    """The stream, resumed where it stopped whenever it ends.

    Raises:
        MeshError: the service refuses it.
    """
    async with endpoint.open_channel() as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        while True:
            try:
                async for response in stub.WatchStock(request):
                    request.resume_token = response.position.resume_token
                    yield response
            except MeshError as fault:
                if fault.kind not in _PASSING:
                    raise
                await asyncio.sleep(RETRY_SECONDS)


async def _print_json(responses: AsyncIterator[watch_pb2.WatchStockResponse]) -> None:
    async for response in responses:
        _print(MessageToJson(response, indent=None, preserving_proto_field_name=True))


async def _print_lines(responses: AsyncIterator[watch_pb2.WatchStockResponse]) -> None:
    """One line a delta; rows of the snapshot are not changes and are left out."""
    async for response in responses:
        for delta in response.deltas.deltas:
            _print("  ".join(_cells(delta)))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _show_table(responses: AsyncIterator[watch_pb2.WatchStockResponse], console: Console) -> None:
    view = View()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        drawing = asyncio.create_task(_draw(view, live, console))
        try:
            async for response in responses:
                view.take(response, monotonic())
        finally:
            drawing.cancel()


async def _draw(view: View, live: Live, console: Console) -> None:
    """In frames: a busy log has far more deltas than an eye can follow."""
    while True:
        live.update(view.table(monotonic(), rows_max=max(1, console.height - HEADER_LINES)), refresh=True)
        await asyncio.sleep(1 / FRAMES_PER_SECOND)


@dataclass
class View:
    """What the table shows."""

    deltas: deque[watch_pb2.StockDelta] = field(default_factory=lambda: deque(maxlen=ROWS_MAX))
    arrivals: deque[tuple[float, int]] = field(default_factory=deque)
    covers_to: int = 0
    snapshot_rows: int = 0
    conflated: bool = False

    def take(self, response: watch_pb2.WatchStockResponse, now: float) -> None:
        """Adds what a message says."""
        self.covers_to = response.position.covers_to
        self.snapshot_rows += len(response.snapshot.levels) + len(response.snapshot.sellable)
        if response.WhichOneof("body") == "deltas":
            self.conflated = response.deltas.conflated
            self.deltas.extend(response.deltas.deltas)
            self.arrivals.append((now, len(response.deltas.deltas)))

    def rate(self, now: float) -> float:
        """Deltas per second over the last `RATE_SECONDS`."""
        while self.arrivals and self.arrivals[0][0] < now - RATE_SECONDS:
            self.arrivals.popleft()
        return sum(count for _, count in self.arrivals) / RATE_SECONDS

    def table(self, now: float, *, rows_max: int) -> Table:
        """The newest deltas, the newest first."""
        title = f"revision {self.covers_to} · {self.rate(now):,.0f} deltas/s"
        if self.snapshot_rows:
            title += f" · {self.snapshot_rows:,} rows in the snapshot"
        if self.conflated:
            title += " · catching up"
        table = Table("time", "revision", "SKU", "where", "before → after", "what", title=title, expand=True)
        for delta in list(self.deltas)[: -rows_max - 1 : -1]:
            table.add_row(*_cells(delta))
        return table


def _cells(delta: watch_pb2.StockDelta) -> tuple[str, ...]:
    """Time, revision, SKU, location or channel, before → after, kind."""
    time = delta.record_time.ToDatetime().isoformat(timespec="milliseconds")[11:]
    kind = stock_pb2.StockEventKind.Name(delta.kind).removeprefix("STOCK_EVENT_KIND_").lower()
    if delta.WhichOneof("change") == "sellable":
        sellable = delta.sellable
        return time, str(delta.revision), sellable.sku, sellable.channel, f"{sellable.before} → {sellable.after}", kind
    level = delta.level
    change = f"{_available(level.before)} → {_available(level.after)}"
    return time, str(delta.revision), level.sku, f"@{level.location}", change, kind


def _available(counters: stock_pb2.Counters) -> int:
    return counters.on_hand - counters.unavailable - counters.reserved - counters.allocated
