"""Servers of a test's own, which it may kill: PostgreSQL and Valkey for real."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from inventory_svc.store.migrations import MIGRATIONS
from meshctl.child import ChildSpec
from meshctl.embedded.postgres import Postgres
from meshctl.embedded.valkey import Valkey
from meshctl.server_user import ensure_server_user
from meshctl.state import open_state
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from tests.embedded import running
from tests.processes import Stack


class Machine:
    """PostgreSQL and Valkey on a state folder of their own, with fsync. `stack` is what a service needs."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        state = stack.enter_context(open_state(folder, ensure_server_user()))
        sockets = state.socket_folder()
        self._folder = folder
        self._stack = stack
        postgres, valkey = Postgres(state, sockets), Valkey(state, sockets)
        self._postgres, self._valkey = postgres.child(), valkey.child()
        self.start_postgres()
        self.start_valkey()
        url = postgres.make_roles(("inventory",))["inventory"]
        migrate(url, MIGRATIONS)
        keys = ensure_keys(Path(tempfile.mkdtemp(dir=folder)))
        self.stack = Stack(url, valkey.url, keys, folder)

    def start_postgres(self) -> None:
        """Starts it, over what a killed one left."""
        self._postgres_process = self._start(self._postgres)

    def start_valkey(self) -> None:
        """Starts it."""
        self._valkey_process = self._start(self._valkey)

    def kill_postgres(self) -> None:
        """Ends the server as a power cut would; its backends end when they notice."""
        self._postgres_process.kill()
        self._postgres_process.wait()

    def kill_valkey(self) -> None:
        """Ends it as a power cut would."""
        self._valkey_process.kill()
        self._valkey_process.wait()

    def _start(self, server: ChildSpec) -> subprocess.Popen[bytes]:
        return self._stack.enter_context(running(server, self._folder / f"{server.name}.log"))


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """The servers, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    try:
        with contextlib.ExitStack() as stack:
            yield Machine(folder, stack)
    finally:
        shutil.rmtree(folder)


PORTS: Final = range(10_000, 32_000)
"""Below those that the system gives to outgoing connections, which would take a port while its server is away."""


def free_port() -> int:
    """A port that a service can be told to listen on, so that its clients find it again after a restart."""
    while True:
        port = secrets.choice(PORTS)  # not seeded: test processes beside this one must choose others
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
