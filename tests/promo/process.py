"""Real promo processes, and clients that call them over gRPC."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from beautymesh.promo.v1 import promo_pb2_grpc
from meshctl.child import launch_command
from meshkit.core.ids import new_id
from meshkit.rpc.channel import MeshChannel, grpc_channel
from meshkit.rpc.tokens import Keys, TokenIssuer
from tests.logs import LOGS

if TYPE_CHECKING:
    Stub: TypeAlias = promo_pb2_grpc.PromoServiceAsyncStub  # exists for type checkers only
else:
    Stub = promo_pb2_grpc.PromoServiceStub

ROOT: Final = Path(__file__).parents[2]
ISSUER: Final = "beautymesh"
READY_SECONDS_MAX: Final = 30.0
SCOPES: Final = frozenset(f"promo.{each}" for each in ("read", "write", "price.write", "evaluate", "redeem", "audit"))


@dataclass(frozen=True, slots=True)
class Stack:
    """What a service process needs: a database, keys, and a folder for its log."""

    database_url: str
    keys: Keys
    folder: Path

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a process; `settings` are names without their prefix."""
        chosen = {
            "database_url": self.database_url,
            "jwks_file": str(self.keys.jwks_file),
            "signing_key_file": str(self.keys.signing_key_file),
            **settings,
        }
        variables = {f"BEAUTYMESH_PROMO_{name.upper()}": value for name, value in chosen.items()}
        return {**os.environ, **variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}

    def token(
        self,
        *,
        client: str = "client:test",
        scopes: frozenset[str] = SCOPES,
        channels: frozenset[str] = frozenset(),
    ) -> str:
        """A token of this stack's own issuer."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        return issuer.issue(
            subject=f"user:{client}", client_id=client, scopes=scopes, lifetime_seconds=3600, channels=channels
        )


class Process:
    """One `python -m promo_svc serve`. It dies with its parent."""

    def __init__(self, stack: Stack, **settings: str) -> None:
        self._log = stack.folder / f"promo-{new_id()}.log"
        command = launch_command([sys.executable, "-m", "promo_svc", "serve"], death_signal=signal.SIGKILL, user=None)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=stack.environment(**settings), stdout=output, stderr=output
            )
        LOGS[str(self._log)] = self._log
        self._serving: dict[str, str] = {}

    @property
    def target(self) -> str:
        """Where its gRPC server listens."""
        self.wait_until_serving()
        return f"127.0.0.1:{self._serving['grpc_port']}"

    def wait_until_serving(self) -> None:
        """Returns once its servers listen."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._serving:
            log = self.log()
            assert self._process.poll() is None, log
            assert time.monotonic() < deadline, f"not serving after {READY_SECONDS_MAX} s:\n{log}"
            for line in log.splitlines():
                if line.startswith("{") and json.loads(line).get("event") == "serving":
                    self._serving = json.loads(line)
            time.sleep(0.02)

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Asks it to drain; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


@contextlib.contextmanager
def process(stack: Stack, **settings: str) -> Iterator[Process]:
    """A process that serves, and is stopped at the end."""
    started = Process(stack, **settings)
    try:
        started.wait_until_serving()
        yield started
    finally:
        started.stop()


@contextlib.asynccontextmanager
async def client(stack: Stack, targets: str | Sequence[str], *, token: str | None = None) -> AsyncIterator[Stub]:
    """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
    shown = token if token is not None else stack.token()
    channel: MeshChannel = grpc_channel(targets, token=lambda: shown)
    try:
        yield promo_pb2_grpc.PromoServiceStub(channel)
    finally:
        await channel.close()
