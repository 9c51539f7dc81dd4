from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshctl import launch
from meshctl.child import launch_command
from tests.meshctl.processes import gone, wait_for_file

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]


def sleeper(running_file: Path) -> list[str]:
    """A program that makes a file and sleeps: once the file is there, the launcher has got past its own start."""
    program = f"import pathlib, time; pathlib.Path({str(running_file)!r}).touch(); time.sleep(60)"
    return [sys.executable, "-I", "-S", "-c", program]


def parent_of(child: list[str], pid_file: Path) -> list[str]:
    """A process that starts `child`, writes its pid, and waits."""
    program = f"""
import os, pathlib, subprocess, sys, time
command = [word.replace("PARENT", str(os.getpid())) for word in {child!r}]
child = subprocess.Popen(command, start_new_session=True)
file = pathlib.Path({str(pid_file)!r})
file.with_suffix(".new").write_text(str(child.pid))
file.with_suffix(".new").replace(file)
time.sleep(60)
"""
    return [sys.executable, "-I", "-S", "-c", program]


def launched(command: list[str]) -> list[str]:
    whole = launch_command(command, death_signal=signal.SIGTERM, user=None)
    return ["PARENT" if word == str(os.getpid()) else word for word in whole]


def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen(parent_of(launched(sleeper(tmp_path / "running")), pid_file))
    pid = int(wait_for_file(pid_file))
    wait_for_file(tmp_path / "running")
    parent.kill()
    parent.wait()
    assert gone(pid, seconds=10)


def test_a_child_whose_parent_died_before_it_could_ask_does_not_run() -> None:
    command = launch_command(SLEEPER, death_signal=signal.SIGTERM, user=None)
    command[command.index(str(os.getpid()))] = "999999999"
    assert subprocess.run(command, check=False, timeout=30).returncode == 1


def test_without_a_kernel_that_helps_the_child_dies_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    folder = str(Path(launch.__file__).parent)
    command = sleeper(tmp_path / "running")
    program = f"import sys; sys.path.insert(0, {folder!r}); import launch; launch.shepherd(PARENT, 15, {command!r})"
    parent = subprocess.Popen(parent_of([sys.executable, "-I", "-c", program], pid_file))
    pid = int(wait_for_file(pid_file))
    wait_for_file(tmp_path / "running")
    parent.kill()
    parent.wait()
    assert gone(pid, seconds=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_child_keeps_none_of_roots_groups() -> None:
    from meshctl.server_user import ensure_server_user  # noqa: PLC0415  # makes the user, so only where root asks

    user = ensure_server_user()
    assert user is not None
    command = launch_command(["/usr/bin/id"], death_signal=signal.SIGKILL, user=user)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name = f"{user.gid}(beautymesh)"
    assert said.split() == [f"uid={user.uid}(beautymesh)", f"gid={name}", f"groups={name}"]
