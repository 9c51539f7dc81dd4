"""`beautymesh verify`: proves that every service's log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from beautymesh.inventory.v1 import inventory_pb2_grpc, stock_pb2
from beautymesh.profile.v1 import profile_pb2
from beautymesh.profile.v1 import service_pb2_grpc as profile_pb2_grpc
from beautymesh.promo.v1 import log_pb2, promo_pb2_grpc
from meshctl.ready import AddressOption, Endpoint, ReadyFileOption, TokenOption, find, run

PROBLEMS_SHOWN_MAX = 100


def _inventory(channel: grpc.aio.Channel) -> AsyncIterable[Any]:
    return inventory_pb2_grpc.InventoryServiceStub(channel).VerifyLedger(stock_pb2.VerifyLedgerRequest())


def _promo(channel: grpc.aio.Channel) -> AsyncIterable[Any]:
    return promo_pb2_grpc.PromoServiceStub(channel).VerifyPromo(log_pb2.VerifyPromoRequest())


def _profile(channel: grpc.aio.Channel) -> AsyncIterable[Any]:
    return profile_pb2_grpc.ProfileServiceStub(channel).VerifyProfiles(profile_pb2.VerifyProfilesRequest())


CHECKS: Final[Mapping[str, Callable[[grpc.aio.Channel], AsyncIterable[Any]]]] = {
    "inventory": _inventory,
    "promo": _promo,
    "profile": _profile,
}
"""The RPC of each service that checks its log; their answers have the same fields. The edge keeps no log."""


@dataclass(slots=True)
class Outcome:
    """What the check of one service found; each problem as rule, subject, what was expected and what found."""

    checked_revision: int = 0
    checked_rows: int = 0
    problems: list[tuple[str, ...]] = field(default_factory=list)


def command(*, ready_file: ReadyFileOption = None, address: AddressOption = None, token: TokenOption = None) -> None:
    """Prove that every service's log and its counters agree. With an address: inventory's only."""
    services = ["inventory"] if address is not None else list(CHECKS)
    endpoints = [find(each, ready_file=ready_file, address=address, token=token) for each in services]
    console = Console()
    wrong = 0
    for endpoint in endpoints:
        outcome = run(verify(endpoint, console))
        _show(endpoint.service, outcome, console)
        wrong += len(outcome.problems)
    if wrong:
        raise typer.Exit(1)


async def verify(endpoint: Endpoint, console: Console) -> Outcome:
    """Checks one service to the end; shows how far it is meanwhile."""
    outcome = Outcome()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"revisions of {endpoint.service}", total=None)
        async with endpoint.open_channel() as channel:
            async for step in CHECKS[endpoint.service](channel):
                outcome.checked_revision, outcome.checked_rows = step.checked_revision, step.checked_rows
                outcome.problems += [
                    tuple(getattr(each, part.name) for part in each.DESCRIPTOR.fields) for each in step.problems
                ]
                progress.update(task, completed=step.checked_revision, total=step.head_revision)
    return outcome


def _show(service: str, outcome: Outcome, console: Console) -> None:
    if not outcome.problems:
        agrees = f"{service}: all agrees: {outcome.checked_revision} revisions, {outcome.checked_rows} rows"
        console.print(agrees, style="green", highlight=False)
        return
    table = Table("rule", "where", "expected", "found", title=service)
    for problem in outcome.problems[:PROBLEMS_SHOWN_MAX]:
        table.add_row(*problem)
    console.print(table)
    console.print(f"{service}: {len(outcome.problems)} problems", style="red")
