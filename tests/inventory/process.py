"""Real inventory processes (or another service's), and clients that call them over gRPC."""
# ruff: noqa: ASYNC110 — what is waited for happens in another process or task, which sets no event

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from beautymesh.inventory.v1 import inventory_pb2_grpc
from meshctl.child import launch_command
from meshctl.mesh import service_command
from meshkit.core.ids import new_id
from meshkit.rpc.channel import MeshChannel, grpc_channel
from meshkit.rpc.tokens import Keys, TokenIssuer
from tests.logs import LOGS

if TYPE_CHECKING:
    Stub: TypeAlias = inventory_pb2_grpc.InventoryServiceAsyncStub  # exists for type checkers only
else:
    Stub = inventory_pb2_grpc.InventoryServiceStub

ROOT: Final = Path(__file__).parents[2]
ISSUER: Final = "beautymesh"
READY_SECONDS_MAX: Final = 30.0
SCOPES: Final = frozenset(
    f"inventory.{each}" for each in ("read", "reserve", "ship", "audit", "stock.write", "catalogue.write", "operate")
)


@dataclass(frozen=True, slots=True)
class Stack:
    """What a service process needs: a database, a cache, keys, and a folder for its log."""

    database_url: str
    redis_url: str
    keys: Keys
    folder: Path
    service: str = "inventory"

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a process; `settings` are names without their prefix."""
        chosen = {
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "jwks_file": str(self.keys.jwks_file),
            "signing_key_file": str(self.keys.signing_key_file),
            **settings,
        }
        variables = {f"BEAUTYMESH_{self.service.upper()}_{name.upper()}": value for name, value in chosen.items()}
        return {**os.environ, **variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}

    def token(
        self,
        *,
        client: str = "client:test",
        scopes: frozenset[str] = SCOPES - {"inventory.operate"},
        locations: frozenset[str] = frozenset(),
    ) -> str:
        """A token of this stack's own issuer."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        return issuer.issue(
            subject=f"user:{client}", client_id=client, scopes=scopes, lifetime_seconds=3600, locations=locations
        )


class Process:
    """One `python -m inventory_svc serve`, or that of the stack's service. It dies with its parent."""

    def __init__(self, stack: Stack, **settings: str) -> None:
        self._log = stack.folder / f"{stack.service}-{new_id()}.log"
        command = launch_command(service_command(stack.service, "serve"), death_signal=signal.SIGKILL, user=None)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=stack.environment(**settings), stdout=output, stderr=output
            )
        self.pid = self._process.pid
        LOGS[str(self._log)] = self._log
        self._serving: dict[str, str] = {}

    def wait_until_serving(self) -> None:
        """Returns once its servers listen."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._serving:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"not serving after {READY_SECONDS_MAX} s:\n{self.log()}"
            for line in self.log().splitlines():
                if line.startswith("{") and json.loads(line).get("event") == "serving":
                    self._serving = json.loads(line)
            time.sleep(0.02)

    @property
    def target(self) -> str:
        """Where its gRPC server listens."""
        self.wait_until_serving()
        return f"127.0.0.1:{self._serving['grpc_port']}"

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Signals it."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        return self._process.wait(READY_SECONDS_MAX)

    def stop(self) -> int:
        """Asks it to drain; its exit code."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextlib.contextmanager
def process(stack: Stack, **settings: str) -> Iterator[Process]:
    """A process that serves, and is stopped at the end if it still runs."""
    started = Process(stack, **settings)
    try:
        started.wait_until_serving()
        yield started
    finally:
        if started.is_running:
            started.stop()


@contextlib.asynccontextmanager
async def process_beside(stack: Stack, **settings: str) -> AsyncIterator[Process]:
    """The same, while the loop goes on with other work: with clients, or with the wire that the process talks over."""
    started = Process(stack, **settings)  # not in a thread: a child is bound to the life of the thread that starts it
    try:
        await asyncio.to_thread(started.wait_until_serving)
        yield started
    finally:
        if started.is_running:
            await asyncio.to_thread(started.stop)


@contextlib.asynccontextmanager
async def client(
    stack: Stack, targets: str | Sequence[str], *, token: str | None = None, name: str = "client:test"
) -> AsyncIterator[Stub]:
    """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
    shown = token if token is not None else stack.token(client=name)
    channel: MeshChannel = grpc_channel(targets, token=lambda: shown)
    try:
        yield inventory_pb2_grpc.InventoryServiceStub(channel)
    finally:
        await channel.close()


async def until(seconds: float, condition: object) -> None:
    """Waits until an async condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # type: ignore[operator]  # a coroutine function
            await asyncio.sleep(0.02)
