"""What one supervised process is: its command line, when it answers, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshctl.server_user import ServerUser

_LAUNCH = Path(__file__).with_name("launch.py")

READY_SECONDS_MAX = 30.0
"""How long a child may take from its start to its first answer; recovery of a large WAL after a crash included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process that `up` keeps running.

    `prepare` runs before every start, also after a crash. `is_ready` is asked again and again until it says yes; it
    raises nothing and takes at most a second. `stop` names signals and how many seconds each may take; what is still
    there afterwards is killed. `death_signal` is what the child receives when `up` itself dies.
    """

    name: str
    command: list[str]
    is_ready: Callable[[], Awaitable[bool]]
    stop: tuple[tuple[signal.Signals, float], ...]
    death_signal: signal.Signals = signal.SIGKILL
    prepare: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: ServerUser | None = None
    ready_seconds_max: float = READY_SECONDS_MAX


def launch_command(command: list[str], *, death_signal: signal.Signals, user: ServerUser | None) -> list[str]:
    """The command line that binds `command` to the life of the process that calls this, and runs it as `user`."""
    uid, gid = (user.uid, user.gid) if user is not None else (-1, -1)
    # -I -S: ten milliseconds instead of fifty, and nothing of the project runs as root before the user is changed.
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH)]
    return [*launcher, str(os.getpid()), str(int(death_signal)), str(uid), str(gid), *command]


async def start(spec: ChildSpec) -> asyncio.subprocess.Process:
    """Starts the process in a session of its own; what it prints comes through `stdout`, both streams in one."""
    return await asyncio.create_subprocess_exec(
        *launch_command(spec.command, death_signal=spec.death_signal, user=spec.user),
        env={**os.environ, **spec.environment},
        cwd=spec.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def run_to_end(
    command: list[str], *, seconds_max: float, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> tuple[int, str]:
    """Runs a command that ends by itself; returns its exit code and what it printed. Killed when it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *launch_command(command, death_signal=signal.SIGKILL, user=None),
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds_max):
            output, _ = await process.communicate(stdin.encode())
    except TimeoutError:
        output = f"took more than {seconds_max:g} s".encode()
    finally:
        if process.returncode is None:
            process.kill()
        code = await process.wait()
    return code, output.decode(errors="replace").strip()
