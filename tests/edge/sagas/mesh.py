"""The whole mesh as processes: three services and edges, each on its own database, on ports that survive a restart."""

from __future__ import annotations

import asyncio
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

from beautymesh.edge.v1 import service_pb2_grpc
from edge_gateway.store.migrations import MIGRATIONS as EDGE
from inventory_svc.store.migrations import MIGRATIONS as INVENTORY
from meshctl.child import launch_command
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal
from meshkit.db.migrations import migrate
from meshkit.rpc.channel import grpc_channel
from meshkit.rpc.tokens import Keys, TokenIssuer, ensure_keys
from profile_svc.store.migrations import MIGRATIONS as PROFILE
from promo_svc.store.migrations import MIGRATIONS as PROMO
from tests.embedded import Embedded
from tests.faults.machine import free_port
from tests.logs import LOGS

if TYPE_CHECKING:
    EdgeStub: TypeAlias = service_pb2_grpc.CheckoutServiceAsyncStub  # exists for type checkers only
else:
    EdgeStub = service_pb2_grpc.CheckoutServiceStub

ROOT: Final = Path(__file__).parents[3]
ISSUER: Final = "beautymesh"
READY_SECONDS_MAX: Final = 60.0
MODULES: Final = {"inventory": "inventory_svc", "promo": "promo_svc", "profile": "profile_svc", "edge": "edge_gateway"}
MIGRATIONS: Final = {"inventory": INVENTORY, "promo": PROMO, "profile": PROFILE, "edge": EDGE}
SERVICES: Final = ("inventory", "promo", "profile")

SHOP_SCOPES: Final = frozenset({
    "checkout", "inventory.reserve", "promo.evaluate", "promo.redeem", "profile.purchase.write",
})  # fmt: skip
"""What a shop needs to sell."""

ALL_SCOPES: Final = SHOP_SCOPES | {
    "inventory.read", "inventory.stock.write", "inventory.catalogue.write", "inventory.audit",
    "promo.read", "promo.write", "promo.price.write", "promo.price.override", "promo.audit",
    "profile.read", "profile.write", "profile.facts.read", "profile.audit",
}  # fmt: skip


class Process:
    """One service process; it dies with its parent."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self._log = folder / f"{name}-{new_id()}.log"
        bound = launch_command([sys.executable, *command], death_signal=signal.SIGKILL, user=None)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(bound, cwd=ROOT, env=environment, stdout=output, stderr=output)
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

    def said(self, event: str) -> list[dict[str, str]]:
        """The lines of its log with this event. The last line may be half written."""
        lines = [line for line in self.log().splitlines() if f'"{event}"' in line and line.endswith("}")]
        return [found for found in map(json.loads, lines) if found.get("event") == event]

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Asks it to drain."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@dataclass(frozen=True, slots=True)
class Mesh:
    """What every process needs to find the others."""

    urls: dict[str, str]
    ports: dict[str, int]
    redis_url: str
    keys: Keys
    folder: Path

    def process(self, service: str, *, command: Sequence[str] = (), **settings: str) -> Process:
        """Starts a process of this service; `settings` are names without their prefix."""
        own = {"grpc_listen": f"127.0.0.1:{self.ports[service]}"} if service in self.ports else {}
        own |= {f"{each}_targets": f"127.0.0.1:{self.ports[each]}" for each in SERVICES} if service == "edge" else {}
        own |= {"profile_targets": f"127.0.0.1:{self.ports['profile']}"} if service == "promo" else {}
        chosen = {
            "database_url": self.urls[service],
            "redis_url": self.redis_url,
            "jwks_file": str(self.keys.jwks_file),
            "signing_key_file": str(self.keys.signing_key_file),
            **own,
            **settings,
        }
        variables = {f"BEAUTYMESH_{service.upper()}_{name.upper()}": value for name, value in chosen.items()}
        environment = {**os.environ, **variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}
        return Process(service, command or ["-m", MODULES[service], "serve"], environment, self.folder)

    def token(self, principal: Principal) -> str:
        """A token of this mesh's own issuer."""
        issuer = TokenIssuer.from_key_file(self.keys.signing_key_file, issuer=ISSUER)
        return issuer.issue(
            subject=principal.subject,
            client_id=principal.client_id,
            scopes=principal.scopes,
            lifetime_seconds=3600,
            channels=principal.channels,
            locations=principal.locations,
        )

    @contextlib.asynccontextmanager
    async def edge_client(self, target: str, principal: Principal | None = None) -> AsyncIterator[EdgeStub]:
        """A stub whose calls raise `MeshError`s and are not repeated by the channel."""
        shown = self.token(principal or shop())
        channel = grpc_channel(target, token=lambda: shown)
        try:
            yield service_pb2_grpc.CheckoutServiceStub(channel)
        finally:
            await channel.close()

    @contextlib.asynccontextmanager
    async def edge(self, **settings: str) -> AsyncIterator[Process]:
        """An edge process more, while the loop goes on with other work."""
        started = self.process("edge", **settings)
        try:
            await asyncio.to_thread(started.wait_until_serving)
            yield started
        finally:
            if started.is_running:
                await asyncio.to_thread(started.stop)


def shop(client_id: str = "client:shop", **grants: frozenset[str]) -> Principal:
    """A client that may sell."""
    return Principal(**{"subject": f"user:{client_id}", "client_id": client_id, "scopes": SHOP_SCOPES, **grants})  # type: ignore[arg-type]  # a table's


@contextlib.contextmanager
def mesh(embedded: Embedded, folder: Path) -> Iterator[tuple[Mesh, dict[str, Process]]]:
    """The mesh with one process of each service, and one edge."""
    urls = {service: embedded.make_database(service) for service in MODULES}
    for service, url in urls.items():
        migrate(url, MIGRATIONS[service])
    made = Mesh(urls, {each: free_port() for each in SERVICES}, embedded.redis_url, ensure_keys(folder), folder)
    processes = {service: made.process(service) for service in SERVICES}
    processes["edge"] = made.process("edge", scan_seconds="0.2")
    try:
        for process in processes.values():
            process.wait_until_serving()
        yield made, processes
    finally:
        for process in processes.values():
            if process.is_running:
                process.stop()
        for url in urls.values():
            embedded.drop_database(url)
