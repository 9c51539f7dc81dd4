"""Inventory, promo and profile, each with a database of its own, and the ready file that finds them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from inventory_svc.store.migrations import MIGRATIONS as INVENTORY
from meshctl.ready import Endpoint, endpoint_of
from meshctl.up import all_scopes
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from profile_svc.store.migrations import MIGRATIONS as PROFILE
from promo_svc.store.migrations import MIGRATIONS as PROMO
from tests.embedded import Embedded
from tests.processes import Process, Stack


@dataclass(frozen=True, slots=True)
class Mesh:
    """What is up. `ready` is the content of `ready_file`."""

    database_urls: dict[str, str]
    ready: dict[str, Any]
    ready_file: Path

    def endpoint(self, service: str = "inventory") -> Endpoint:
        return endpoint_of(self.ready, service)

    def beautymesh(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command against this mesh."""
        return beautymesh(command, *arguments, "--ready-file", str(self.ready_file))

    def rows(self, query: str, service: str = "inventory") -> list[tuple[Any, ...]]:
        """What the service's database says."""
        with psycopg.connect(self.database_urls[service]) as connection:
            return connection.execute(query.encode()).fetchall()

    def head(self, service: str = "inventory") -> int:
        """The revision of the service's log."""
        revision: int = self.rows("SELECT revision FROM log_head", service)[0][0]
        return revision


MIGRATIONS = {"inventory": INVENTORY, "promo": PROMO, "profile": PROFILE}


@contextlib.contextmanager
def serving(embedded: Embedded, folder: Path, *names: str) -> Iterator[Mesh]:
    """Starts these services (all, where none is named) on fresh databases and stops them at the end."""
    with contextlib.ExitStack() as stack:
        keys = ensure_keys(folder / "keys")
        urls: dict[str, str] = {}
        processes: dict[str, Process] = {}
        for name in names or MIGRATIONS:
            urls[name] = embedded.make_database(name)
            stack.callback(embedded.drop_database, urls[name])
            migrate(urls[name], MIGRATIONS[name])
            processes[name] = Stack(urls[name], embedded.redis_url, keys, folder, name).process()
            stack.callback(processes[name].stop)
        token = Stack("", "", keys, folder).token(scopes=all_scopes())
        services = {name: [process.target] for name, process in processes.items()}
        ready = {"token": token, "services": services, "admin": {name: [""] for name in processes}}
        ready_file = folder / "ready.json"
        ready_file.write_text(json.dumps(ready))
        yield Mesh(urls, ready, ready_file)


def beautymesh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, on a wide terminal that is none."""
    command = [sys.executable, "-W", "error", "-c", "from meshctl.cli import main; main()", *arguments]
    environment = {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "300"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
