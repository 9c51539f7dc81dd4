"""Looks at processes from outside."""

from __future__ import annotations

import os
import time
from pathlib import Path


def gone(pid: int, *, seconds: float) -> bool:
    """Whether the process ends within this time; one that only waits to be reaped has ended."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return Path("/proc").exists() is False


def processes_naming(text: str) -> list[int]:
    """The processes whose command line or environment names `text`, which is some folder of the test's own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = folder.joinpath("cmdline").read_bytes() + folder.joinpath("environ").read_bytes()
        except OSError:
            continue
        if text.encode() in said and alive(int(folder.name)) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def wait_for_file(path: Path, *, seconds: float = 10.0) -> str:
    """What the file says once it is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear within {seconds:g} s"
        time.sleep(0.02)
    return path.read_text(encoding="utf-8")
