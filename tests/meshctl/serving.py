"""One inventory service with a database of its own, and the ready file that finds it."""

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

from inventory_svc.store.migrations import MIGRATIONS
from meshctl.ready import Endpoint, endpoint_of
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from tests.embedded import Embedded
from tests.inventory.process import Process, Stack


@dataclass(frozen=True, slots=True)
class Mesh:
    """What is up. `ready` is the content of `ready_file`."""

    database_url: str
    ready: dict[str, Any]
    ready_file: Path

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of(self.ready)

    def beautymesh(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command against this mesh."""
        return beautymesh(command, *arguments, "--ready-file", str(self.ready_file))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def head(self) -> int:
        """The log's revision."""
        revision: int = self.rows("SELECT revision FROM log_head")[0][0]
        return revision


@contextlib.contextmanager
def serving(embedded: Embedded, folder: Path) -> Iterator[Mesh]:
    """Starts the service on a fresh database and stops it at the end."""
    url = embedded.make_database("inventory")
    migrate(url, MIGRATIONS)
    stack = Stack(url, embedded.redis_url, ensure_keys(folder / "keys"), folder)
    service = Process(stack)
    try:
        ready = {"token": stack.token(), "services": {"inventory": [service.target]}, "admin": {"inventory": [""]}}
        ready_file = folder / "ready.json"
        ready_file.write_text(json.dumps(ready))
        yield Mesh(url, ready, ready_file)
    finally:
        service.stop()
        embedded.drop_database(url)


def beautymesh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, on a wide terminal that is none."""
    command = [sys.executable, "-W", "error", "-c", "from meshctl.cli import main; main()", *arguments]
    environment = {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "300"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
