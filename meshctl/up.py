"""`beautymesh up`: a whole mesh on this machine, from an empty folder to a ready file, and down again.

Order: state folder and its lock, PostgreSQL and Valkey, roles, migrations, services, edge, ready file, demo catalogue.
The stop goes the other way round and takes less than 5 s; what was committed is there at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import psycopg
from psycopg import sql
from rich.console import Console

from meshctl import child
from meshctl.embedded.postgres import Postgres
from meshctl.embedded.valkey import Valkey
from meshctl.mesh import (
    SERVICES,
    Surroundings,
    Worker,
    database_variable,
    place_workers,
    service_command,
    worker_child,
)
from meshctl.ports import Ports
from meshctl.refusal import SetupRefused
from meshctl.server_user import ensure_server_user
from meshctl.state import StateFolder, open_state, write_private
from meshctl.supervisor import ChildFailed, Supervisor
from meshkit.rpc.tokens import TokenIssuer, ensure_keys

MIGRATION_SECONDS_MAX = 120.0
DEMO_SECONDS_MAX = 60.0

READY_FILE = "ready.json"
"""In the state folder; by it the other commands find a mesh that is up."""

TOKEN_SECONDS = 24 * 3600
"""Life of the token in the ready file: a day's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of `up` chose."""

    state: Path
    port: int
    workers: int
    edges: int
    ready_file: Path | None
    demo: bool


async def run(options: Options, console: Console) -> None:
    """Brings the mesh up and returns when it has been told to stop and has stopped.

    Raises:
        SetupRefused: when this machine or its settings stand in the way.
        ChildFailed: when a process or a migration fails before the mesh is ready.
    """
    stop = _stop_on_signals()
    mesh = asyncio.ensure_future(_hold_up(options, console))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({mesh, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not mesh.done():
        console.print("stopping …")
        mesh.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await mesh


async def _hold_up(options: Options, console: Console) -> None:
    """Brings the mesh up and holds it until it is cancelled, which may be at any point of the start."""
    own_servers = os.environ.get("BEAUTYMESH_DATABASE_URL") and os.environ.get("BEAUTYMESH_REDIS_URL")
    user = None if own_servers else ensure_server_user()
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(open_state(options.state, user))
        stack.callback(state.clear_sockets)
        ports = stack.enter_context(contextlib.closing(Ports()))
        workers = place_workers(ports, workers=options.workers, edges=options.edges, port=options.port)
        ready_files = stack.enter_context(_ready_files(state, options.ready_file))

        def report(line: str) -> None:
            console.print(line, style="yellow", markup=False, highlight=False)

        async with Supervisor(state.make("log"), report) as supervisor:
            surroundings = await _start_servers(state, supervisor)
            await asyncio.gather(*(migrate(service, surroundings) for service in SERVICES))
            children = {each: worker_child(each, surroundings, workers) for each in workers}
            await supervisor.start(*(spec for each, spec in children.items() if each.service != "edge"))
            await supervisor.start(*(spec for each, spec in children.items() if each.service == "edge"))
            ready = describe(workers, _developer_token(surroundings), {"up": os.getpid(), **supervisor.pids()})
            for file in ready_files:
                write_private(file, json.dumps(ready, indent=2) + "\n")
            demo = await _load_demo(ready) if options.demo else ""
            _print_addresses(ready, state, demo, console)
            await asyncio.get_running_loop().create_future()


async def _start_servers(state: StateFolder, supervisor: Supervisor) -> Surroundings:
    """Starts what the environment does not name, side by side."""
    sockets = state.socket_folder()
    postgres, valkey = Postgres(state, sockets), Valkey(state, sockets)
    database_url, redis_url = os.environ.get("BEAUTYMESH_DATABASE_URL"), os.environ.get("BEAUTYMESH_REDIS_URL")
    # Two stages, because the stop takes Valkey down first; and one start, because neither needs the other.
    starts = []
    if not database_url:
        starts.append(supervisor.start(postgres.child()))
    if not redis_url:
        starts.append(supervisor.start(valkey.child()))
    await asyncio.gather(*starts)
    names = tuple(SERVICES)
    if database_url:
        urls = await asyncio.to_thread(_schemas_in_own_database, database_url, names)
    else:
        urls = await asyncio.to_thread(postgres.make_roles, names)
    keys = ensure_keys(state.make("keys"))
    return Surroundings(
        database_urls=urls,
        redis_url=redis_url or valkey.url,
        signing_key_file=keys.signing_key_file,
        jwks_file=keys.jwks_file,
    )


def _schemas_in_own_database(database_url: str, services: tuple[str, ...]) -> dict[str, str]:
    """One role, whose schemas are kept apart by the search path; the roles are the owner's business."""
    urls = {}
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            for service in services:
                if os.environ.get(database_variable(service)):
                    urls[service] = database_url
                    continue
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(service)))
                joint = "&" if "?" in database_url else "?"
                urls[service] = f"{database_url}{joint}options={quote(f'-csearch_path={service}')}"
    except psycopg.Error as error:
        raise SetupRefused(
            f"the database of BEAUTYMESH_DATABASE_URL cannot be used: {str(error).strip()}",
            "mend the URL, or let its role create schemas",
            "unset BEAUTYMESH_DATABASE_URL: an embedded PostgreSQL is started instead",
        ) from error
    return urls


async def migrate(service: str, surroundings: Surroundings) -> None:
    """Brings one service's schema up to date, in a process of the service's own.

    Raises:
        ChildFailed: with what it printed.
    """
    code, output = await child.run_to_end(
        service_command(service, "migrate"),
        environment=surroundings.environment(service),
        seconds_max=MIGRATION_SECONDS_MAX,
    )
    if code:
        raise ChildFailed(f"the migration of {service} failed (exit code {code}):\n{output}")


class Ready(TypedDict):
    """The content of the ready file. `edge` are the URLs of the REST interface."""

    token: str
    edge: list[str]
    services: dict[str, list[str]]
    admin: dict[str, list[str]]
    pids: dict[str, int]


def describe(workers: list[Worker], token: str, pids: dict[str, int]) -> Ready:
    """What a client needs to know of a mesh that is ready."""
    return {
        "token": token,
        "edge": [each.url for each in workers if each.service == "edge"],
        "services": {name: [each.address for each in workers if each.service == name] for name in SERVICES},
        "admin": {name: [each.admin for each in workers if each.service == name] for name in SERVICES},
        "pids": pids,
    }


def _developer_token(surroundings: Surroundings) -> str:
    """A token with every scope that an RPC asks for."""
    name = os.environ.get("BEAUTYMESH_ISSUER") or "beautymesh"
    issuer = TokenIssuer.from_key_file(surroundings.signing_key_file, issuer=name)
    return issuer.issue(
        subject="developer", client_id="beautymesh-up", scopes=all_scopes(), lifetime_seconds=TOKEN_SECONDS
    )


WIDENING_SCOPES = frozenset({"inventory.operate", "promo.operate", "promo.price.override"})
"""What no RPC asks for and some look at: whoever has it acts for all clients, or names prices. For staff."""


def all_scopes() -> frozenset[str]:
    """Every scope that an RPC asks for; what only widens one is not in it."""
    from beautymesh.edge.v1 import service_pb2 as edge  # noqa: PLC0415  # slow to import, and needed once
    from beautymesh.inventory.v1 import inventory_pb2  # noqa: PLC0415  # the same
    from beautymesh.options.v1 import options_pb2  # noqa: PLC0415  # the same
    from beautymesh.profile.v1 import service_pb2 as profile  # noqa: PLC0415  # the same
    from beautymesh.promo.v1 import promo_pb2  # noqa: PLC0415  # the same

    files = (inventory_pb2.DESCRIPTOR, promo_pb2.DESCRIPTOR, profile.DESCRIPTOR, edge.DESCRIPTOR)
    methods = [method for file in files for service in file.services_by_name.values() for method in service.methods]
    return frozenset(scope for method in methods for scope in method.GetOptions().Extensions[options_pb2.rpc].scopes)


async def _load_demo(ready: Ready) -> str:
    """Fills the mesh for somebody who wants to look around; returns what to tell that person, a failure included.

    In a process of its own: it speaks gRPC, and `up` must stay able to start children without a thread of gRPC's in it.
    """
    program = (
        "import json, sys; from meshctl.demo import lines_to_try, load;"
        " ready = json.load(sys.stdin); print(load(ready)); print('try:', *lines_to_try(ready), sep='\\n  ')"
    )
    code, output = await child.run_to_end(
        [sys.executable, "-c", program], stdin=json.dumps(ready), seconds_max=DEMO_SECONDS_MAX
    )
    return output if code == 0 else f"the demo catalogue was not loaded (exit code {code}):\n{output}"


@contextlib.contextmanager
def _ready_files(state: StateFolder, chosen: Path | None) -> Iterator[list[Path]]:
    """Where to say that the mesh is ready: in the state folder, for our own commands, and where the caller wants it.

    The files are there only while the mesh is.

    Raises:
        SetupRefused: when the chosen one cannot be written.
    """
    files = [state.path / READY_FILE, *([chosen.resolve()] if chosen is not None else [])]
    for file in files:
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise SetupRefused(f"you may not write to {file.parent}, or it is not there", "choose another --ready-file")
        file.unlink(missing_ok=True)
    try:
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _print_addresses(ready: Ready, state: StateFolder, demo: str, console: Console) -> None:
    lines = [f"ready; state in {state.path}, logs in {state.path / 'log'}"]
    for name, addresses in ready["services"].items():
        lines.append(f"  {name:<10} {', '.join(addresses):<18} {' '.join(ready['admin'][name])}")
    lines += [
        f"  REST       {' '.join(ready['edge'])} (documentation: {ready['edge'][0]}/docs)",
        f"token (24 h, every scope that an RPC asks for): {ready['token']}",
        "Ctrl-C stops everything; the data stays.",
        demo,
    ]
    console.print("\n".join(filter(None, lines)), markup=False, highlight=False, soft_wrap=True)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
