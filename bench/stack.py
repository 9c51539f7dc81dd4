"""The processes under test: one PostgreSQL and one Valkey, and services or a whole mesh on them, as `up` runs them."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

from meshctl.child import ChildSpec
from meshctl.embedded.postgres import Postgres
from meshctl.embedded.valkey import Valkey
from meshctl.mesh import SERVICES, STOP, Surroundings, Worker, place_workers, worker_child
from meshctl.ports import HOST, Ports
from meshctl.probe import http_is_ready
from meshctl.server_user import ensure_server_user
from meshctl.state import open_state
from meshctl.supervisor import Supervisor
from meshctl.up import all_scopes, migrate
from meshkit.rpc.tokens import Keys, TokenIssuer, ensure_keys

GROUPED, SINGLE, BARE = "inventory", "single", "bare"
"""Three logs in one cluster, each with a role and schema of its own: of a service with group commit, of one that
commits every command alone, and of no service."""

ECHO, HELLO = "echo", "hello"
"""What does nothing: by gRPC, and over HTTP."""

WAL_SIZE_MAX = "512MB"
"""Half of what `up` allows, so that all cases fit into 2 GB of disk."""

PARENT_FOLDER = Path("/var/tmp")  # noqa: S108  # on disk where /tmp is often memory


@dataclass(frozen=True, slots=True)
class Stack:
    """What is running. Addresses are `host:port`; `bare_url` is a migrated schema that no service touches."""

    folder: Path
    token: str
    grouped: str
    grouped_admin: str
    single: str
    echo: str
    grouped_url: str
    bare_url: str
    pids: dict[str, int]

    def disk_mib(self) -> int:
        """What the cluster takes on disk, its WAL included."""
        files = [file.lstat().st_size for file in (self.folder / "postgres").rglob("*") if file.is_file()]
        return sum(files) // 2**20


@dataclass(frozen=True, slots=True)
class Mesh:
    """One process of every service. `edge` and `hello` are URLs, `inventory` is `host:port`."""

    token: str
    inventory: str
    edge: str
    edge_admin: str
    hello: str
    pids: dict[str, int]


@contextlib.asynccontextmanager
async def running_stack() -> AsyncGenerator[Stack]:
    """Inventory three ways, without an edge: nothing else takes part in what the log can do."""
    async with _servers((GROUPED, SINGLE, BARE)) as servers:
        surroundings = {name: servers.surroundings({"inventory": url}) for name, url in servers.database_urls.items()}
        for each in surroundings.values():
            await migrate("inventory", each)
        ports = servers.ports
        workers = {name: Worker("inventory", 0, ports.reserve(), ports.reserve()) for name in (GROUPED, SINGLE, ECHO)}
        await servers.supervisor.start(
            *(_inventory(name, workers[name], surroundings[name]) for name in (GROUPED, SINGLE)),
            _echo(workers[ECHO], surroundings[GROUPED]),
        )
        yield Stack(
            folder=servers.folder,
            token=servers.token(),
            grouped=workers[GROUPED].address,
            grouped_admin=workers[GROUPED].admin,
            single=workers[SINGLE].address,
            echo=workers[ECHO].address,
            grouped_url=servers.database_urls[GROUPED],
            bare_url=servers.database_urls[BARE],
            pids=servers.supervisor.pids(),
        )


@contextlib.asynccontextmanager
async def running_mesh() -> AsyncGenerator[Mesh]:
    """A whole mesh with one edge, and the HTTP server that says one thing."""
    async with _servers(tuple(SERVICES)) as servers:
        surroundings = servers.surroundings(servers.database_urls)
        for service in SERVICES:
            await migrate(service, surroundings)
        workers = place_workers(servers.ports, workers=1, edges=1, port=0)
        *services, edge = workers
        hello_port = servers.ports.reserve()
        await servers.supervisor.start(*(worker_child(each, surroundings, workers) for each in services))
        await servers.supervisor.start(worker_child(edge, surroundings, workers), _hello(hello_port))
        inventory = next(each for each in services if each.service == "inventory")
        yield Mesh(
            token=servers.token(),
            inventory=inventory.address,
            edge=edge.url,
            edge_admin=edge.admin,
            hello=f"http://{HOST}:{hello_port}",
            pids=servers.supervisor.pids(),
        )


@dataclass(frozen=True, slots=True)
class _Servers:
    """PostgreSQL and Valkey, and all that services on them need."""

    folder: Path
    supervisor: Supervisor
    ports: Ports
    keys: Keys
    database_urls: dict[str, str]
    redis_url: str

    def surroundings(self, database_urls: dict[str, str]) -> Surroundings:
        return Surroundings(
            database_urls=database_urls,
            redis_url=self.redis_url,
            signing_key_file=self.keys.signing_key_file,
            jwks_file=self.keys.jwks_file,
        )

    def token(self) -> str:
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer="beautymesh")
        return issuer.issue(subject="bench", client_id="bench", scopes=all_scopes(), lifetime_seconds=3600)


@contextlib.asynccontextmanager
async def _servers(roles: tuple[str, ...]) -> AsyncGenerator[_Servers]:
    """Starts both in a fresh folder, stops everything at the end and removes the folder."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-bench-", dir=PARENT_FOLDER))
    try:
        with open_state(folder, ensure_server_user()) as state, contextlib.closing(Ports()) as ports:
            sockets = state.socket_folder()
            postgres, valkey = Postgres(state, sockets), Valkey(state, sockets)
            async with Supervisor(state.make("log"), _report) as supervisor:
                await supervisor.start(postgres.child(max_wal_size=WAL_SIZE_MAX), valkey.child())
                yield _Servers(
                    folder=folder,
                    supervisor=supervisor,
                    ports=ports,
                    keys=ensure_keys(state.make("keys")),
                    database_urls=postgres.make_roles(roles),
                    redis_url=valkey.url,
                )
    finally:
        shutil.rmtree(folder)


def _inventory(name: str, worker: Worker, surroundings: Surroundings) -> ChildSpec:
    spec = worker_child(worker, surroundings)
    limit = {"BEAUTYMESH_INVENTORY_LOG_BATCH_COMMANDS_MAX": "1"} if name == SINGLE else {}
    return replace(spec, name=name, environment={**spec.environment, **limit})


def _echo(worker: Worker, surroundings: Surroundings) -> ChildSpec:
    return replace(
        worker_child(worker, surroundings),
        name="echo",
        command=[sys.executable, "-m", "bench.echo"],
        environment={
            "BEAUTYMESH_ECHO_GRPC_LISTEN": worker.address,
            "BEAUTYMESH_ECHO_ADMIN_LISTEN": worker.admin.removeprefix("http://"),
            "BEAUTYMESH_JWKS_FILE": str(surroundings.jwks_file),
        },
    )


def _hello(port: int) -> ChildSpec:
    return ChildSpec(
        name=HELLO,
        command=[sys.executable, "-m", "bench.hello", str(port)],
        environment={},
        is_ready=functools.partial(http_is_ready, HOST, port),
        stop=STOP,
    )


def _report(line: str) -> None:
    print(line, file=sys.stderr)
