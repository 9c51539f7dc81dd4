"""`beautymesh verify`: proves that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from beautymesh.inventory.v1 import inventory_pb2_grpc, stock_pb2
from meshctl.ready import AddressOption, Endpoint, ReadyFileOption, TokenOption, find_inventory, run

PROBLEMS_SHOWN_MAX = 100


def command(*, ready_file: ReadyFileOption = None, address: AddressOption = None, token: TokenOption = None) -> None:
    """Prove that the log and the levels agree."""
    endpoint = find_inventory(ready_file=ready_file, address=address, token=token)
    console = Console()
    last, problems = run(verify(endpoint, console))
    if not problems:
        console.print(f"all agrees: {last.checked_revision} revisions, {last.checked_rows} rows", style="green")
        return
    console.print(_table(problems[:PROBLEMS_SHOWN_MAX]))
    console.print(f"{len(problems)} problems", style="red")
    raise typer.Exit(1)


async def verify(
    endpoint: Endpoint, console: Console
) -> tuple[stock_pb2.VerifyLedgerResponse, list[stock_pb2.LedgerProblem]]:
    """The last step of the check and every problem it found; shows how far it is meanwhile."""
    problems: list[stock_pb2.LedgerProblem] = []
    step = stock_pb2.VerifyLedgerResponse()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("revisions", total=None)
        async with endpoint.open_channel() as channel:
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            async for step in stub.VerifyLedger(stock_pb2.VerifyLedgerRequest()):
                problems.extend(step.problems)
                progress.update(task, completed=step.checked_revision, total=step.head_revision)
    return step, problems


def _table(problems: list[stock_pb2.LedgerProblem]) -> Table:
    table = Table("rule", "where", "expected", "found")
    for each in problems:
        table.add_row(each.rule, each.subject, each.expected, each.actual)
    return table
