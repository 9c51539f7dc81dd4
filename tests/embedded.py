"""The real PostgreSQL and Valkey that a test session shares, and fresh databases on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from meshctl.child import ChildSpec, launch_command
from meshctl.embedded.postgres import Postgres, make_role, make_schema
from meshctl.embedded.valkey import Valkey
from meshctl.server_user import ensure_server_user
from meshctl.state import StateFolder, open_state
from tests.logs import LOGS


class Embedded:
    """One cluster and one cache, both empty at first. `admin_url` is the superuser's, `redis_url` the cache's."""

    def __init__(self, state: StateFolder, postgres: Postgres, valkey: Valkey) -> None:
        self.admin_url = postgres.admin_url
        self.redis_url = valkey.url
        self._state = state
        self._postgres = postgres
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}

    def make_database(self, service: str, *, template_url: str = "") -> str:
        """A fresh database with the service's role and schema; returns the role's URL.

        `template_url` names a database made by this method to copy as it is (migrated, filled); nobody may be
        connected to it. Takes about 30 ms.
        """
        template = urlsplit(template_url).path.lstrip("/") or self._template(service)
        return self._clone(service, template)

    def drop_database(self, url: str) -> None:
        """Removes a database, whoever is still connected."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            name = sql.Identifier(urlsplit(url).path.lstrip("/"))
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def _template(self, service: str) -> str:
        if service not in self._templates:
            url = self._clone(service, "template1")
            database = urlsplit(url).path.lstrip("/")
            password = self._state.secret(service)
            with psycopg.connect(self._postgres.url("postgres", self._state.secret("postgres"), database)) as inside:
                inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
                make_role(inside, service, password, database)
                make_schema(inside, service)
            self._templates[service] = database
        return self._templates[service]

    def _clone(self, service: str, template: str) -> str:
        database = f"{service}_{next(self._numbers)}"
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(database), sql.Identifier(template)))
        return self._postgres.url(service, self._state.secret(service), database)


@contextlib.contextmanager
def embedded_servers(*, fsync: bool = True) -> Iterator[Embedded]:
    """Starts both servers in a temporary state folder and stops them at the end.

    Without fsync a commit is as atomic and as isolated as with it, and survives `kill -9`; only the machine must not
    lose power. That is what a test session wants.
    """
    # Not pytest's own folder: that is 0700, and the servers' user has to get in.
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    try:
        with contextlib.ExitStack() as stack:
            state = stack.enter_context(open_state(folder, ensure_server_user()))
            sockets = state.socket_folder()
            postgres, valkey = Postgres(state, sockets), Valkey(state, sockets)
            settings = {"log_lock_waits": "on", "log_min_duration_statement": "1s"}
            settings |= {} if fsync else {"fsync": "off", "full_page_writes": "off"}
            for spec in (postgres.child(**settings), valkey.child()):
                LOGS[spec.name] = folder / f"{spec.name}.log"
                stack.enter_context(running(spec, LOGS[spec.name]))
            yield Embedded(state, postgres, valkey)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def running(spec: ChildSpec, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts one server, waits until it answers, and stops it at the end."""
    spec.prepare()
    command = launch_command(spec.command, death_signal=spec.death_signal, user=spec.user)
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=spec.cwd, stdout=output, stderr=output, start_new_session=True)
    try:
        asyncio.run(_until_ready(spec, process, log))
        yield process
    finally:
        for number, seconds in (*spec.stop, (signal.SIGKILL, 5.0)):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break


async def _until_ready(spec: ChildSpec, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(spec.ready_seconds_max):
        while not await spec.is_ready():
            assert process.poll() is None, f"{spec.name} ended; see {log}"
            await asyncio.sleep(0.02)
