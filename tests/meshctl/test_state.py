from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshctl import state as state_module
from meshctl.refusal import SetupRefused
from meshctl.server_user import ServerUser, ensure_server_user
from meshctl.state import SOCKET_PATH_BYTES_MAX, lock_holder, open_state

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def refusal(path: Path, user: ServerUser | None = None) -> str:
    with pytest.raises(SetupRefused) as caught, open_state(path, user):
        pass
    return str(caught.value)


def test_a_second_up_on_the_same_folder_is_refused_with_the_first_ones_process_id(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with open_state(folder, None):
        assert lock_holder(folder) == str(os.getpid())
        said = refusal(folder)
    assert said.startswith(f"{folder} is in use by `beautymesh up` with process id {os.getpid()}\n")


def test_no_lock_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with open_state(folder, None):
        pass
    assert sorted(entry.name for entry in folder.iterdir()) == ["VERSION"]
    assert lock_holder(folder) == ""


def test_the_lock_of_a_killed_up_does_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    program = f"import os, pathlib; from meshctl.state import open_state; p = pathlib.Path({str(folder)!r})\n"
    program += "with open_state(p, None): os.kill(os.getpid(), 9)"
    subprocess.run(
        [sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert (folder / "lock").exists()
    with open_state(folder, None):
        pass


def test_the_lock_is_taken_on_the_file_that_is_there_now(tmp_path: Path) -> None:
    """The last holder removes the file; whoever had opened it before must not believe to hold anything."""
    folder = tmp_path / "state"
    folder.mkdir()
    with (folder / "lock").open("w") as left:
        fcntl.flock(left, fcntl.LOCK_EX)
        (folder / "lock").unlink()
        with open_state(folder, None):
            assert lock_holder(folder) == str(os.getpid())


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    assert refusal(tmp_path).startswith(f"{tmp_path} holds other things and is not a state folder\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter"]


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("2\n")
    assert refusal(tmp_path).startswith(f"{tmp_path} has layout 2, this version of beautymesh knows layout 1\n")


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "state").startswith(f"{tmp_path / 'file'} is not a folder\n")


def test_too_little_disk_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "FREE_BYTES_MIN", 2**60)
    said = refusal(tmp_path / "state")
    assert re.fullmatch(
        rf"{tmp_path} has \d+ MiB of free disk, {2**40} MiB are needed\n"
        r"  - make room there\n  - choose another folder with --state",
        said,
    )
    assert not (tmp_path / "state").exists()


@root_only
def test_a_small_file_system_is_refused(open_folder: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(open_folder)], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        assert refusal(open_folder / "state").startswith(f"{open_folder} has 1 MiB of free disk, 256 MiB are needed\n")
    finally:
        subprocess.run(["umount", str(open_folder)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_closed_to_us_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert refusal(closed / "state").startswith(f"you may not write to {closed}\n")


@root_only
def test_a_parent_that_the_servers_user_cannot_enter_is_refused_and_not_opened(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    said = refusal(closed / "deep" / "state", ensure_server_user())
    assert said.startswith(f"the servers' system user beautymesh may not enter {closed}, so it cannot reach ")
    assert f"let it pass: chmod o+x {closed}" in said
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []


@root_only
def test_an_empty_private_folder_named_by_root_becomes_passable(open_folder: Path) -> None:
    folder = open_folder / "state"
    folder.mkdir(mode=0o700)
    user = ensure_server_user()
    assert user is not None
    with open_state(folder, user):
        assert user.can_enter(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o701


def test_an_ordinary_users_folder_is_private(tmp_path: Path) -> None:
    with open_state(tmp_path / "state", None):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_secret_is_private_and_stays(tmp_path: Path) -> None:
    with open_state(tmp_path / "state", None) as state:
        first = state.secret("inventory")
        assert len(first) == 43
        assert state.secret("inventory") == first
        assert state.secret("promo") != first
        file = tmp_path / "state" / "secrets" / "inventory"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sockets_of_a_long_path_go_to_a_short_private_folder_and_leave_with_it(tmp_path: Path) -> None:
    with open_state(tmp_path / ("long" * 25), None) as state:
        folder = state.socket_folder()
        assert len(str(folder / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES_MAX
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert state.socket_folder() == folder
        state.clear_sockets()
        assert not folder.exists()


def test_a_short_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    with open_state(tmp_path / ("long" * 25), None) as state:
        folder = state.socket_folder()
        folder.chmod(0o755)
        try:
            with pytest.raises(SetupRefused, match="is not ours"):
                state.socket_folder()
        finally:
            state.clear_sockets()


def test_sockets_of_a_short_path_stay_in_the_state_folder() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bm-"))
    try:
        with open_state(folder, None) as state:
            assert state.socket_folder() == folder / "run"
    finally:
        shutil.rmtree(folder)
