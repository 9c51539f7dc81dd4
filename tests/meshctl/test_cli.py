from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meshctl import doctor
from meshctl.state import open_state


def beautymesh(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from meshctl.cli import main; main()", *arguments]
    env = environment or {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def faults(state: Path, port: int) -> dict[str, str]:
    return {finding.subject: finding.fault for finding in doctor.examine(state, port) if finding.fault}


def test_help_names_every_command() -> None:
    said = beautymesh("--help").stdout
    for command in ("up", "serve", "migrate", "token", "import-catalogue", "watch", "verify", "doctor"):
        assert f" {command} " in said


def test_an_unknown_service_is_refused_with_the_known_ones() -> None:
    result = beautymesh("serve", "warehouse")
    assert result.returncode == 2
    for service in ("inventory", "promo", "profile", "edge"):
        assert service in result.stderr


def test_migrate_becomes_the_service(make_database: Callable[..., str]) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "BEAUTYMESH_EDGE_DATABASE_URL": make_database("edge")}
    for said in ("edge: migrated from nothing to 0001\n", "edge: schema 0001 is up to date\n"):
        result = beautymesh("migrate", "edge", environment=environment)
        assert (result.returncode, result.stdout) == (0, said), result.stderr


def test_the_command_line_starts_without_the_libraries_of_its_commands() -> None:
    program = (
        "import sys, meshctl.cli; print([m for m in ('grpc', 'psycopg', 'sqlalchemy', 'redis') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert said.stdout == "[]\n"


def test_doctor_finds_nothing_missing_where_up_runs(free_port: int) -> None:
    assert faults(Path("/tmp/beautymesh-doctor-test"), free_port) == {}


def test_doctor_names_a_port_that_is_taken(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        found = faults(Path("/tmp/beautymesh-doctor-test"), free_port)
    assert found == {
        "edge port": f"port {free_port} cannot be had: Address already in use\n  - choose another one with --port"
    }


def test_doctor_names_the_holder_of_the_lock(tmp_path: Path, free_port: int) -> None:
    with open_state(tmp_path / "state", None):
        assert "is in use by process" in faults(tmp_path / "state", free_port)["lock"]


def test_doctor_leaves_no_trace(free_port: int) -> None:
    state = Path("/tmp/beautymesh-doctor-test")
    doctor.examine(state, free_port)
    assert not state.exists()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
