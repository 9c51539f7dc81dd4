"""The processes under test: one PostgreSQL and one Valkey, and the services on them, as `up` runs them."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

from meshctl.child import ChildSpec
from meshctl.embedded.postgres import Postgres
from meshctl.embedded.valkey import Valkey
from meshctl.mesh import Surroundings, Worker, worker_child
from meshctl.ports import Ports
from meshctl.server_user import ensure_server_user
from meshctl.state import open_state
from meshctl.supervisor import Supervisor
from meshctl.up import all_scopes, migrate
from meshkit.rpc.tokens import TokenIssuer, ensure_keys

GROUPED, SINGLE, BARE = "inventory", "single", "bare"
"""Three logs in one cluster, each with a role and schema of its own: of a service with group commit, of one that
commits every command alone, and of no service."""

ECHO = "echo"

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


@contextlib.asynccontextmanager
async def running_stack() -> AsyncGenerator[Stack]:
    """Starts everything in a fresh folder, stops it at the end and removes the folder."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-bench-", dir=PARENT_FOLDER))
    try:
        with open_state(folder, ensure_server_user()) as state, contextlib.closing(Ports()) as ports:
            sockets = state.socket_folder()
            postgres, valkey = Postgres(state, sockets), Valkey(state, sockets)
            async with Supervisor(state.make("log"), _report) as supervisor:
                await supervisor.start(postgres.child(max_wal_size=WAL_SIZE_MAX), valkey.child())
                urls = postgres.make_roles((GROUPED, SINGLE, BARE))
                keys = ensure_keys(state.make("keys"))
                surroundings = {
                    name: Surroundings(
                        database_urls={"inventory": url},
                        redis_url=valkey.url,
                        signing_key_file=keys.signing_key_file,
                        jwks_file=keys.jwks_file,
                    )
                    for name, url in urls.items()
                }
                for each in surroundings.values():
                    await migrate("inventory", each)
                workers = {
                    name: Worker("inventory", 0, ports.reserve(), ports.reserve()) for name in (GROUPED, SINGLE, ECHO)
                }
                await supervisor.start(
                    *(_inventory(name, workers[name], surroundings[name]) for name in (GROUPED, SINGLE)),
                    _echo(workers[ECHO], surroundings[GROUPED]),
                )
                issuer = TokenIssuer.from_key_file(keys.signing_key_file, issuer="beautymesh")
                token = issuer.issue(subject="bench", client_id="bench", scopes=all_scopes(), lifetime_seconds=3600)
                yield Stack(
                    folder=folder,
                    token=token,
                    grouped=workers[GROUPED].address,
                    grouped_admin=workers[GROUPED].admin,
                    single=workers[SINGLE].address,
                    echo=workers[ECHO].address,
                    grouped_url=urls[GROUPED],
                    bare_url=urls[BARE],
                    pids=supervisor.pids(),
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


def _report(line: str) -> None:
    print(line, file=sys.stderr)
