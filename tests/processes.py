"""Real service processes, with what they need: a database, a cache, keys, and a folder for their logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshctl.child import launch_command
from meshctl.mesh import service_command
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal
from meshkit.rpc.tokens import Keys, ServiceTokens, TokenIssuer
from tests.logs import LOGS

ROOT: Final = Path(__file__).parents[1]
ISSUER: Final = "beautymesh"
READY_SECONDS_MAX: Final = 180.0

USUAL_SCOPES: Final = {
    "inventory": frozenset(
        f"inventory.{each}" for each in ("read", "reserve", "ship", "audit", "stock.write", "catalogue.write")
    ),
    "promo": frozenset(f"promo.{each}" for each in ("read", "write", "price.write", "evaluate", "redeem", "audit")),
}
"""What a client of a service has unless a test says otherwise: all but what is for operators, or for a few."""


class Process:
    """One service process. It dies with its parent."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._log = folder / f"{name}-{new_id()}.log"
        bound = launch_command(list(command), death_signal=signal.SIGKILL, user=None)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(bound, cwd=ROOT, env=environment, stdout=output, stderr=output)
        self.pid = self._process.pid
        LOGS[str(self._log)] = self._log
        self._serving: dict[str, str] = {}

    def wait_until_serving(self) -> None:
        """Returns once its servers listen."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._serving:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"not serving after {READY_SECONDS_MAX:g} s:\n{self.log()}"
            for said in self.said("serving"):
                self._serving = said
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

    def said(self, event: str) -> list[dict[str, str]]:
        """The lines of its log with this event. The last line may be half written."""
        lines = [line for line in self.log().splitlines() if f'"{event}"' in line and line.endswith("}")]
        return [found for found in map(json.loads, lines) if found.get("event") == event]

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
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@dataclass(frozen=True, slots=True)
class Stack:
    """What the processes of one service need. Without `redis_url` they are told of none."""

    database_url: str
    redis_url: str
    keys: Keys
    folder: Path
    service: str = "inventory"

    def process(self, **settings: str) -> Process:
        """Starts one. `settings` are names without their prefix."""
        known = {"database_url": self.database_url, **({"redis_url": self.redis_url} if self.redis_url else {})}
        environment = environment_of(self.service, self.keys, {**known, **settings})
        return Process(self.service, service_command(self.service, "serve"), environment, self.folder)

    def token(
        self,
        *,
        client: str = "client:test",
        scopes: frozenset[str] | None = None,
        channels: frozenset[str] = frozenset(),
        locations: frozenset[str] = frozenset(),
    ) -> str:
        """A token of this stack's own issuer."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        return issuer.issue(
            subject=f"user:{client}",
            client_id=client,
            scopes=USUAL_SCOPES[self.service] if scopes is None else scopes,
            lifetime_seconds=3600,
            channels=channels,
            locations=locations,
        )

    def service_token(self, client: str = "client:test") -> str:
        """A token with which a service of the mesh speaks for the client."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        principal = Principal(f"user:{client}", client, USUAL_SCOPES[self.service])
        return ServiceTokens(issuer, service="edge").token_for(principal)


def environment_of(service: str, keys: Keys, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process; `settings` are names without their prefix."""
    files = {"jwks_file": str(keys.jwks_file), "signing_key_file": str(keys.signing_key_file)}
    variables = {f"BEAUTYMESH_{service.upper()}_{name.upper()}": value for name, value in {**files, **settings}.items()}
    return {**os.environ, **variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}


@contextlib.contextmanager
def process(stack: Stack, **settings: str) -> Iterator[Process]:
    """A process that serves, and is stopped at the end if it still runs."""
    started = stack.process(**settings)
    try:
        started.wait_until_serving()
        yield started
    finally:
        if started.is_running:
            started.stop()


@contextlib.asynccontextmanager
async def process_beside(stack: Stack, **settings: str) -> AsyncIterator[Process]:
    """The same, while the loop goes on with other work: with clients, or with the wire that the process talks over."""
    started = stack.process(**settings)  # not in a thread: a child is bound to the life of the thread that starts it
    try:
        await asyncio.to_thread(started.wait_until_serving)
        yield started
    finally:
        if started.is_running:
            await asyncio.to_thread(started.stop)
