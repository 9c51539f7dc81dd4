"""`beautymesh import-catalogue`: a CSV file becomes SKUs and prices, and stock if asked for; a repeat changes nothing.

The whole file is read and checked before the first call. One call writes up to `SKUS_PER_CALL_MAX` SKUs, all or none.
An import that broke off is finished by running it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
from protovalidate import Validator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2_grpc, stock_pb2
from beautymesh.promo.v1 import price_pb2, promo_pb2_grpc
from meshctl.catalogue_file import CatalogueFile, Note, read_catalogue
from meshctl.price_list import prices_of, upsert_prices
from meshctl.ready import AddressOption, Endpoint, ReadyFileOption, TokenOption, find, run
from meshctl.refusal import SetupRefused
from meshkit.core.ids import new_id

SKUS_PER_CALL_MAX: Final = 10_000
CALL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Half of what a server accepts in one message."""

CALL_SECONDS_MAX: Final = 60.0
RECEIVES_AT_ONCE: Final = 64
"""Enough for the service to commit them in groups; a handful of rows each would wait for a flush each."""

NOTES_SHOWN_MAX: Final = 100
QUANTITY_MAX: Final = 1_000_000_000


@dataclass(slots=True)
class Imported:
    """What an import did. `received` counts SKUs whose stock is there now, by this import or by an earlier one.

    `priced` counts prices that were new or differed. `revision` is the inventory's.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    priced: int = 0
    prices_unchanged: int = 0
    received: int = 0
    revision: int = 0
    refused: list[Note] = field(default_factory=list)


def command(
    file: Annotated[Path, typer.Argument(help="A CSV file with a header: name, and sku or brand.", show_default=False)],
    *,
    encoding: Annotated[str, typer.Option(help="How its text is encoded; old spreadsheets: cp1252.")] = "utf-8",
    location: Annotated[str | None, typer.Option(help="Where stock is received; made if it is not known.")] = None,
    quantity: Annotated[
        int | None, typer.Option(min=1, max=QUANTITY_MAX, help="Units of every SKU to receive there, once.")
    ] = None,
    ready_file: ReadyFileOption = None,
    address: AddressOption = None,
    promo_address: Annotated[
        str | None, typer.Option(help="host:port of a promo process, instead of a ready file.")
    ] = None,
    token: TokenOption = None,
) -> None:
    """Import a product catalogue from a CSV file."""
    if quantity is not None and location is None:
        raise SetupRefused("--quantity needs a place to put the units", "name it with --location")
    try:
        catalogue = read_catalogue(file.read_bytes(), encoding=encoding)
    except OSError as fault:
        raise SetupRefused(f"{file} cannot be read: {fault.strerror}") from None
    _check_location(location)
    console = Console()
    if not catalogue.skus:
        show(catalogue, Imported(), console)
        raise SetupRefused(f"{file} has no row that can be imported")
    prices = prices_of(catalogue.skus)
    if prices and promo_address is None and address is not None and token is not None:
        raise SetupRefused("the file has prices, which are promo's", "name one of its processes with --promo-address")
    inventory = find("inventory", ready_file=ready_file, address=address, token=token)
    promo = find("promo", ready_file=ready_file, address=promo_address, token=token) if prices else None
    imported = run(
        write(
            catalogue.skus,
            prices,
            inventory=inventory,
            promo=promo,
            console=console,
            location=location,
            quantity=quantity or 0,
        )
    )
    show(catalogue, imported, console)


async def write(
    skus: Sequence[catalogue_pb2.Sku],
    prices: Sequence[price_pb2.Price],
    *,
    inventory: Endpoint,
    promo: Endpoint | None,
    console: Console,
    location: str | None,
    quantity: int,
) -> Imported:
    """Makes the SKUs known, their prices, the location, and receives `quantity` of each there. Safe to repeat.

    Prices come before stock, so that nothing can be sold that has none; `promo` is needed if there are any.

    Raises:
        MeshError: what the service refused; what was written before it stays.
    """
    imported = Imported()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with inventory.open_channel() as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("SKUs", total=len(skus))
            for part in _parts(skus):
                await _upsert(stub, part, imported)
                progress.advance(task, len(part))
            if promo is not None:
                await _write_prices(promo, prices, imported, progress)
            if location is not None:
                await ensure_location(stub, location)
            if location is not None and quantity:
                lines = [stock_pb2.StockLine(sku=sku.sku, location=location, quantity=quantity) for sku in skus]
                await _receive_all(stub, lines, imported, progress)
    return imported


def show(catalogue: CatalogueFile, imported: Imported, console: Console) -> None:
    """Prints the summary, then what was shortened and refused, line by line."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    counts = {
        "rows read": catalogue.rows,
        "SKUs made": imported.created,
        "SKUs updated": imported.updated,
        "SKUs unchanged": imported.unchanged,
        "prices set": imported.priced,
        "prices unchanged": imported.prices_unchanged,
        "SKUs with stock received": imported.received,
        "rows with a shortened value": len({note.line for note in catalogue.shortened}),
        "rows refused": len(catalogue.refused),
        "revision": imported.revision,
    }
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    for said, notes in (("shortened", catalogue.shortened), ("refused", catalogue.refused)):
        for note in notes[:NOTES_SHOWN_MAX]:
            console.print(f"line {note.line} {said}: {note.text}", markup=False, highlight=False, soft_wrap=True)
        if len(notes) > NOTES_SHOWN_MAX:
            console.print(f"… and {len(notes) - NOTES_SHOWN_MAX:,} more {said}")


async def _upsert(
    stub: inventory_pb2_grpc.InventoryServiceAsyncStub, skus: Sequence[catalogue_pb2.Sku], imported: Imported
) -> None:
    # A fresh id: the call is idempotent by its content. With an id made of the content, importing A, then B, then A
    # again would be answered as the first A was, and change nothing.
    request = catalogue_pb2.BatchUpsertSkusRequest(request_id=f"import:{new_id()}", skus=skus)
    reply = await stub.BatchUpsertSkus(request, timeout=CALL_SECONDS_MAX)
    imported.created += reply.created
    imported.updated += reply.updated
    imported.unchanged += reply.unchanged
    imported.revision = max(imported.revision, reply.revision)


async def _write_prices(
    promo: Endpoint, prices: Sequence[price_pb2.Price], imported: Imported, progress: Progress
) -> None:
    task = progress.add_task("prices", total=len(prices))
    async with promo.open_channel() as channel:
        async for reply in upsert_prices(promo_pb2_grpc.PromoServiceStub(channel), prices):
            imported.priced += reply.created + reply.updated
            imported.prices_unchanged += reply.unchanged
            progress.advance(task, reply.created + reply.updated + reply.unchanged)


async def _receive_all(
    stub: inventory_pb2_grpc.InventoryServiceAsyncStub,
    lines: Sequence[stock_pb2.StockLine],
    imported: Imported,
    progress: Progress,
) -> None:
    task = progress.add_task(f"stock at {lines[0].location}", total=len(lines))
    for start in range(0, len(lines), RECEIVES_AT_ONCE):
        some = lines[start : start + RECEIVES_AT_ONCE]
        revisions = await asyncio.gather(*(_receive(stub, line) for line in some))
        imported.received += len(some)
        imported.revision = max(imported.revision, *revisions)
        progress.advance(task, len(some))


async def _receive(stub: inventory_pb2_grpc.InventoryServiceAsyncStub, line: stock_pb2.StockLine) -> int:
    """One call a SKU, under an id made of its content: so a file that has grown meanwhile receives only what is new."""
    digest = hashlib.sha256(line.SerializeToString(deterministic=True)).hexdigest()
    request = stock_pb2.ReceiveStockRequest(request_id=f"import:{digest}", lines=[line])
    request.context.reference = "import-catalogue"
    return (await stub.ReceiveStock(request, timeout=CALL_SECONDS_MAX)).revision


async def ensure_location(stub: inventory_pb2_grpc.InventoryServiceAsyncStub, location: str) -> None:
    """Makes a location known unless it is; one that is known keeps its name and kind."""
    known = await stub.ListLocations(catalogue_pb2.ListLocationsRequest(locations=[location]))
    if not known.locations:
        place = catalogue_pb2.Location(location=location, name=location)
        request = catalogue_pb2.BatchUpsertLocationsRequest(request_id=f"import:{new_id()}", locations=[place])
        await stub.BatchUpsertLocations(request)


def _check_location(location: str | None) -> None:
    """Refuses a code that the service would refuse, before anything is written."""
    place = catalogue_pb2.Location(location="-" if location is None else location, name="-")
    for violation in Validator().collect_violations(place):
        raise SetupRefused(f"the location {violation.proto.message}", "name another one with --location")


def _parts(skus: Sequence[catalogue_pb2.Sku]) -> Iterator[list[catalogue_pb2.Sku]]:
    """The SKUs in order, as many together as fit into a call."""
    part: list[catalogue_pb2.Sku] = []
    part_bytes = 0
    for sku in skus:
        sku_bytes = sku.ByteSize() + 8  # the field's tag and length
        if part and (len(part) == SKUS_PER_CALL_MAX or part_bytes + sku_bytes > CALL_BYTES_MAX):
            yield part
            part, part_bytes = [], 0
        part.append(sku)
        part_bytes += sku_bytes
    if part:
        yield part
