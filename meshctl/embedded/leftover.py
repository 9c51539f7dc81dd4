"""Ends a server that outlived the `up` that started it, and tells it from a stranger with the same process id."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

STEPS: tuple[tuple[signal.Signals, float], ...] = (
    (signal.SIGINT, 3.0),
    (signal.SIGQUIT, 1.0),
    (signal.SIGKILL, 1.0),
)
"""PostgreSQL's fast and immediate stop, then the end; seconds to wait after each."""


def end_leftover(pid_file: Path, program: str) -> None:
    """Reads the pid file's first line, stops that process if it runs `program`, and removes the file.

    After `kill -9` of `up` the server's own shutdown may still be going on; after `kill -9` of the server the file is
    stale, and its number may belong to anybody by now.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").splitlines()[0])
    except FileNotFoundError:
        return
    except (ValueError, IndexError):
        pid = 0
    if pid > 0:
        for number, seconds in STEPS:
            if not runs(pid, program):
                break
            os.kill(pid, number)
            _wait(pid, program, seconds)
    pid_file.unlink(missing_ok=True)


def runs(pid: int, program: str) -> bool:
    """Whether the process `pid` is there, alive, and runs `program`."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            alive = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
            words = stat.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return alive and Path(os.fsdecode(words[0])).name == program
    result = subprocess.run(["/bin/ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return Path(result.stdout.strip()).name == program


def _wait(pid: int, program: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while runs(pid, program) and time.monotonic() < deadline:
        time.sleep(0.02)
