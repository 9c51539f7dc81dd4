"""The whole mesh as processes: three services and edges, each on its own database, on ports that survive a restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from beautymesh.edge.v1 import service_pb2_grpc
from edge_gateway.store.migrations import MIGRATIONS as EDGE
from inventory_svc.store.migrations import MIGRATIONS as INVENTORY
from meshctl.mesh import service_command
from meshkit.core.principal import Principal
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import Keys, TokenIssuer, ensure_keys
from profile_svc.store.migrations import MIGRATIONS as PROFILE
from promo_svc.store.migrations import MIGRATIONS as PROMO
from tests.channels import connected
from tests.embedded import Embedded
from tests.faults.machine import free_port
from tests.processes import ISSUER, Process, environment_of

if TYPE_CHECKING:
    EdgeStub: TypeAlias = service_pb2_grpc.CheckoutServiceAsyncStub  # exists for type checkers only
else:
    EdgeStub = service_pb2_grpc.CheckoutServiceStub

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
        own |= {"database_url": self.urls[service], "redis_url": self.redis_url}
        environment = environment_of(service, self.keys, {**own, **settings})
        return Process(service, command or service_command(service, "serve"), environment, self.folder)

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
        async with connected(target, token=lambda: shown) as channel:
            yield service_pb2_grpc.CheckoutServiceStub(channel)

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
    urls = {service: embedded.make_database(service) for service in MIGRATIONS}
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
