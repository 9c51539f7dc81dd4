"""`beautymesh up` as a person runs it: the real command, real servers, real services."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from meshctl.up import WIDENING_SCOPES, all_scopes
from tests.embedded import Embedded
from tests.meshctl.processes import alive, gone, processes_naming, wait_for_file

ROOT = Path(__file__).resolve().parents[2]

STOP_SECONDS_MAX = 5.0

NOBODY = pwd.getpwnam("nobody")


class Up:
    """One `up` in a folder of its own."""

    def __init__(
        self, folder: Path, *options: str, uid: int | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.ready_file = folder / "ready.json"
        self._options = ["--no-demo", "--port", "0", *options]
        self._uid = uid
        self._environment = {"PATH": os.defpath, **python_path(), "HOME": str(folder), **(environment or {})}
        self.process = self.begin()

    def begin(self) -> subprocess.Popen[bytes]:
        program = "from meshctl.cli import main; main()"
        command = [sys.executable, "-c", program, "up", "--state", str(self.state)]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(self.ready_file), *self._options],
                env=self._environment,
                stdout=output,
                stderr=output,
                user=self._uid,
                group=None if self._uid is None else NOBODY.pw_gid,
                extra_groups=None if self._uid is None else [],
                start_new_session=True,
            )
        return self.process

    def wait_until_ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        ready: dict[str, Any] = json.loads(wait_for_file(self.ready_file))
        return ready

    def wait_until_said(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        started = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(timeout=20) == 0, self.output()
        assert time.monotonic() - started < STOP_SECONDS_MAX
        left = processes_naming(str(self.folder))
        assert left == [], [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        assert not (self.state / "lock").exists()
        assert not self.ready_file.exists()

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")


@contextlib.contextmanager
def up_in_a_new_folder(
    *options: str, uid: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Up]:
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    if uid is None:
        folder.chmod(0o711)  # the servers' user has to pass
    else:
        os.chown(folder, uid, NOBODY.pw_gid)
    up = Up(folder, *options, uid=uid, environment=environment)
    try:
        yield up
    finally:
        up.process.kill()
        up.process.wait()
        deadline = time.monotonic() + 10
        while processes_naming(str(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running_up() -> Iterator[Up]:
    """One `up` with two edges for all tests that leave it as it was."""
    with up_in_a_new_folder("--edges", "2") as up:
        up.wait_until_ready()
        yield up
        up.stop()


def test_the_ready_file_names_what_answers_and_is_private(running_up: Up) -> None:
    ready = running_up.wait_until_ready()
    assert stat.S_IMODE(running_up.ready_file.stat().st_mode) == 0o600
    assert list(ready) == ["token", "edge", "services", "admin", "pids"]
    assert {name: len(addresses) for name, addresses in ready["services"].items()} == {
        "inventory": 1,
        "promo": 1,
        "profile": 1,
        "edge": 2,
    }
    assert all(alive(pid) for pid in ready["pids"].values())
    for urls in ready["admin"].values():
        with urllib.request.urlopen(f"{urls[0]}/readyz", timeout=5) as answer:  # noqa: S310  # http, from our own file
            assert answer.status == 200


def test_every_edge_answers_for_every_service(running_up: Up) -> None:
    ready = running_up.wait_until_ready()
    assert len(set(ready["edge"])) == 2
    for url in ready["edge"]:
        for path, listed in (("skus", "skus"), ("campaigns", "campaigns"), ("profiles", "profiles")):
            assert asked(f"{url}/v1/{path}", ready["token"])[listed] == []


def test_a_cart_is_priced_with_facts_that_promo_asks_profile_for(running_up: Up) -> None:
    ready = running_up.wait_until_ready()
    edge, token = ready["edge"][0], ready["token"]
    asked(f"{edge}/v1/profiles/ada", token, {"tags": ["vip"]}, method="PUT")
    asked(f"{edge}/v1/prices:batchUpsert", token, {"prices": [{"sku": "S", "currency": "USD", "priceMinor": "1000"}]})
    asked(f"{edge}/v1/campaigns", token, {"campaignId": "c", "name": "c"})
    promotion = {"name": "p", "condition": "'vip' in profile.tags", "benefit": {"percentOffBasisPoints": 5_000}}
    asked(f"{edge}/v1/campaigns/c/promotions", token, promotion)
    cart = {"lines": [{"sku": "S", "quantity": "1"}], "profileId": "ada"}
    assert asked(f"{edge}/v1/carts:evaluate", token, cart)["totals"]["total"]["minor"] == "500"
    asked(f"{edge}/v1/campaigns/c:end", token, {})


def test_a_port_that_is_taken_is_refused_before_anything_is_started(running_up: Up) -> None:
    """Taken by another mesh's edge: the two could share it, and each would get half of the other's requests."""
    port = str(urlsplit(running_up.wait_until_ready()["edge"][0]).port)
    with up_in_a_new_folder("--port", port) as up:
        assert up.process.wait(timeout=20) == 1
        assert up.output() == (
            f"port {port} cannot be had: Address already in use\n  - choose another one with --port\n"
        )
        assert not (up.state / "postgres").exists()


def test_the_first_edge_answers_at_the_port_that_was_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with up_in_a_new_folder("--port", str(port)) as up:
        assert up.wait_until_ready()["edge"] == [f"http://127.0.0.1:{port}"]
        assert answers(f"http://127.0.0.1:{port}")
        up.stop()


def test_up_says_which_scopes_its_token_has(running_up: Up) -> None:
    token = running_up.wait_until_ready()["token"]
    running_up.wait_until_said(f"token (24 h, every scope that an RPC asks for): {token}\n")


def test_a_token_has_every_scope_that_an_rpc_asks_for_and_none_that_widens_one() -> None:
    scopes = all_scopes()
    assert {"inventory.reserve", "promo.price.write", "profile.purchase.write", "checkout"} <= scopes
    assert not WIDENING_SCOPES & scopes


def test_a_second_up_is_refused_with_the_first_ones_process_id(running_up: Up) -> None:
    command = [sys.executable, "-c", "from meshctl.cli import main; main()", "up", "--state", str(running_up.state)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **python_path()})
    assert second.returncode == 1
    assert f"is in use by `beautymesh up` with process id {running_up.process.pid}" in second.stderr
    assert running_up.ready_file.exists()


@pytest.mark.parametrize("name", ["postgres", "valkey", "promo-0"])
def test_a_killed_child_comes_back_at_the_same_address(running_up: Up, name: str) -> None:
    ready = running_up.wait_until_ready()
    os.kill(ready["pids"][name], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not all(answers(urls[0]) for urls in ready["admin"].values()) or alive(ready["pids"][name]):
        assert time.monotonic() < deadline, running_up.output()
        time.sleep(0.05)
    assert running_up.process.poll() is None


def test_a_killed_up_takes_everything_with_it_and_the_next_one_has_all_that_was_committed() -> None:
    with up_in_a_new_folder() as up:
        pids = up.wait_until_ready()["pids"]
        with psycopg.connect(inventory_url(up)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS a")
        up.process.kill()
        up.process.wait()
        assert [name for name, pid in pids.items() if not gone(pid, seconds=10)] == []
        up.ready_file.unlink()
        up.begin()
        up.wait_until_ready()
        with psycopg.connect(inventory_url(up)) as connection:
            assert connection.execute("SELECT a FROM kept").fetchone() == (7,)
        up.stop(signal.SIGINT)
        # A clean stop left nothing to recover.
        assert "database system is shut down" in (up.state / "log" / "postgres.log").read_text().splitlines()[-1]


def test_a_stop_in_the_middle_of_the_start_leaves_nothing() -> None:
    with up_in_a_new_folder() as up:
        wait_for_file(up.state / "postgres" / "postmaster.pid", seconds=20)
        up.stop()


def test_servers_of_your_own_are_used_instead(embedded: Embedded, make_database: Callable[..., str]) -> None:
    url = make_database("inventory")
    with psycopg.connect(embedded.admin_url) as connection:
        name = sql.Identifier(urlsplit(url).path.lstrip("/"))
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO inventory").format(name))
    own = {"BEAUTYMESH_DATABASE_URL": url, "BEAUTYMESH_REDIS_URL": embedded.redis_url}
    with up_in_a_new_folder(environment=own) as up:
        assert sorted(up.wait_until_ready()["pids"]) == ["edge-0", "inventory-0", "profile-0", "promo-0", "up"]
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspowner = 'inventory'::regrole")
            assert sorted(name for (name,) in found) == ["edge", "inventory", "profile", "promo"]
        up.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try another user")
def test_an_ordinary_user_needs_no_system_user() -> None:
    asked = ["/bin/sh", "-c", f"'{sys.executable}' -c 'import psycopg' && ls '{ROOT}'"]
    if subprocess.run(asked, user=NOBODY.pw_uid, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("the user nobody cannot read this checkout or its Python; .ci/run tries it with a copy")
    with up_in_a_new_folder(uid=NOBODY.pw_uid) as up:
        ready = up.wait_until_ready()
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in ready["pids"].values()} == {NOBODY.pw_uid}
        assert stat.S_IMODE(up.state.stat().st_mode) == 0o700
        up.stop()


def inventory_url(up: Up) -> str:
    password = (up.state / "secrets" / "inventory").read_text(encoding="ascii")
    return f"postgresql://inventory:{password}@/beautymesh?host={up.state / 'run'}"


def asked(url: str, token: str, body: dict[str, Any] | None = None, *, method: str | None = None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  # http, from our own file
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # the same
        found: dict[str, Any] = json.load(answer)
    return found


def answers(admin_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{admin_url}/readyz", timeout=1) as answer:  # noqa: S310  # http, from our own file
            return bool(answer.status == 200)
    except OSError:
        return False


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}
