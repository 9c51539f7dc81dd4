"""A whole mesh as `beautymesh up` starts it, in a folder of its own, and the tokens that it believes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshctl.child import launch_command
from meshctl.up import all_scopes
from meshkit.core.clock import ManualClock
from meshkit.rpc.tokens import TokenIssuer
from tests.logs import LOGS

ROOT: Final = Path(__file__).parents[2]
ISSUER: Final = "beautymesh"
READY_SECONDS_MAX: Final = 90.0
STOP_SECONDS_MAX: Final = 15.0


@dataclass(frozen=True, slots=True)
class Mesh:
    """What is up. `ready` is the content of the ready file, `urls` are where the edges answer REST."""

    folder: Path
    ready: dict[str, Any]
    up: subprocess.Popen[bytes]
    urls: list[str] = field(default_factory=list)

    @property
    def ready_file(self) -> Path:
        return self.folder / "ready.json"

    def token(
        self,
        *,
        client: str = "client:test",
        scopes: frozenset[str] | None = None,
        issuer: str = ISSUER,
        clock: ManualClock | None = None,
        channels: frozenset[str] = frozenset(),
    ) -> str:
        """A token of this mesh's own issuer, with every scope where none are named."""
        key_file = self.folder / "state" / "keys" / "signing-key.json"
        return TokenIssuer.from_key_file(key_file, issuer=issuer, clock=clock).issue(
            subject=f"user:{client}",
            client_id=client,
            scopes=all_scopes() if scopes is None else scopes,
            lifetime_seconds=3600,
            channels=channels,
        )

    def kill(self, name: str) -> None:
        """Ends a process of the first generation (`inventory-0`) as a power cut would; it is started again."""
        os.kill(self.ready["pids"][name], signal.SIGKILL)

    @contextlib.contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Kills these processes, and keeps the supervisor from starting them again until the end of the block."""
        self.up.send_signal(signal.SIGSTOP)
        try:
            for name in names:
                self.kill(name)
            yield
        finally:
            self.up.send_signal(signal.SIGCONT)

    def beautymesh(self, *arguments: str) -> str:
        """Runs a command against this mesh; what it printed."""
        program = [sys.executable, "-c", "from meshctl.cli import main; main()"]
        return subprocess.run(
            [*program, *arguments, "--ready-file", str(self.ready_file)],
            env=environment(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout


@contextlib.contextmanager
def mesh_of(*, edges: int = 1, workers: int = 1, settings: dict[str, str] | None = None) -> Iterator[Mesh]:
    """Starts everything, without the demo, and stops it at the end. It dies with this process."""
    folder = Path(tempfile.mkdtemp(prefix="beautymesh-test-"))
    folder.chmod(0o711)  # the servers' user has to pass
    program = [sys.executable, "-c", "from meshctl.cli import main; main()", "up", "--no-demo", "--port", "0"]
    program += ["--state", str(folder / "state"), "--ready-file", str(folder / "ready.json")]
    program += ["--edges", str(edges), "--workers", str(workers)]
    with (folder / "up.log").open("wb") as output:
        up = subprocess.Popen(
            launch_command(program, death_signal=signal.SIGTERM, user=None),
            env={**environment(), **(settings or {})},
            stdout=output,
            stderr=output,
        )
    LOGS[str(folder)] = folder / "up.log"
    try:
        ready = _wait_until_ready(folder, up)
        LOGS.update({f"{folder}: {log.name}": log for log in (folder / "state" / "log").glob("*.log")})
        yield Mesh(folder, ready, up, ready["edge"])
    finally:
        up.send_signal(signal.SIGCONT)
        up.terminate()
        try:
            up.wait(STOP_SECONDS_MAX)
        finally:
            up.kill()
            shutil.rmtree(folder)


def _wait_until_ready(folder: Path, up: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not (folder / "ready.json").exists():
        assert up.poll() is None, (folder / "up.log").read_text(encoding="utf-8")
        assert time.monotonic() < deadline, f"not ready after {READY_SECONDS_MAX:g} s"
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads((folder / "ready.json").read_text(encoding="utf-8"))
    return ready


def environment() -> dict[str, str]:
    """Without any setting of ours: `tests/conftest.py` has removed those."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}", "COLUMNS": "200"}
