"""The command line: `beautymesh up | serve | migrate | token | import-catalogue | watch | verify | doctor`.

What a command needs is imported when it is called, so that `up` does not wait for what only `watch` needs.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from meshctl.mesh import EDGES_MAX, SERVICES, WORKERS_MAX, service_command
from meshctl.refusal import SetupRefused
from meshctl.state import default_folder

ELSEWHERE = {
    "token": "Make a token for a client of the mesh.",
    "import-catalogue": "Import a product catalogue from a CSV file.",
    "watch": "Show stock changes as they happen.",
    "verify": "Prove that every service's log and its counters agree.",
}
"""Commands with a module of their own: `meshctl/<name>.py` has a function `command`, typed for typer."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Runs Beautymesh.")

Service = Enum("Service", {name: name for name in SERVICES}, type=str)  # type: ignore[misc]  # the names have one home


def main() -> None:
    """Entry point of the `beautymesh` program."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, said in ELSEWHERE.items():
        module = f"meshctl.{name.replace('-', '_')}"
        app.command(name, help=said)(importlib.import_module(module).command if name == asked else _listed)
    try:
        app()
    except SetupRefused as refusal:
        _fail(str(refusal))


@app.command()
def up(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The edge's REST port; 0 takes a free one.")] = 8080,
    state: Annotated[Path | None, typer.Option(help="Folder for everything that lasts.", show_default=False)] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written when everything answers, 0600; gone when it stops.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=WORKERS_MAX, help="Processes of each service.")] = 1,
    edges: Annotated[
        int, typer.Option(min=1, max=EDGES_MAX, help="Processes of the edge; the others' ports are in the ready file.")
    ] = 1,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Load the demo catalogue.")] = True,
) -> None:
    """Start PostgreSQL, Valkey, all services and the edge here; stop them with Ctrl-C."""
    from meshctl.supervisor import ChildFailed  # noqa: PLC0415  # see the module's docstring
    from meshctl.up import Options, run  # noqa: PLC0415  # the same

    options = Options(
        state=state or default_folder(), port=port, workers=workers, edges=edges, ready_file=ready_file, demo=demo
    )
    try:
        asyncio.run(run(options, Console()))
    except ChildFailed as failure:
        _fail(str(failure))


@app.command()
def serve(service: Service) -> NoReturn:
    """Run one process of one service with the environment as it is."""
    _become(service, "serve")


@app.command()
def migrate(service: Service) -> NoReturn:
    """Bring one service's schema up to date with the environment as it is."""
    _become(service, "migrate")


@app.command()
def doctor(
    state: Annotated[Path | None, typer.Option(help="The folder that `up` would use.", show_default=False)] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The edge's REST port.")] = 8080,
) -> None:
    """Tell what is missing here, and how to get it."""
    from meshctl.doctor import examine, show  # noqa: PLC0415  # see the module's docstring

    findings = examine(state or default_folder(), port)
    show(findings, Console())
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


def _become(service: Service, action: str) -> NoReturn:
    command = service_command(service.value, action)
    os.execv(command[0], command)  # noqa: S606  # no shell is the point


def _listed() -> None:
    """Stands in the list of commands for one that was not asked for."""


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
