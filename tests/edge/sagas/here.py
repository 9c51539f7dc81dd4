"""An edge's saga in this process, between the real database and real services, with a hand on every call and commit."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias, cast

import psycopg
from google.protobuf.message import Message
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.edge.v1 import checkout_pb2
from edge_gateway.clients.services import Services, open_channels, services
from edge_gateway.domain.checkout import Checkout
from edge_gateway.rpc.checkouts import DESCRIPTOR
from edge_gateway.sagas.checkout import Checkouts
from edge_gateway.sagas.reevaluation import Reevaluation
from edge_gateway.sagas.runner import Runner
from edge_gateway.settings import EdgeSettings
from edge_gateway.store.checkouts import Filter, wait_for_fingerprint_key
from edge_gateway.store.migrations import MIGRATIONS
from edge_gateway.workers.takeover import Takeover
from meshkit.core.clock import ManualClock, SystemClock
from meshkit.core.errors import DeadlineExceeded, MeshError, Unavailable
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal
from meshkit.db.engine import make_engine
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.options import read_policies
from meshkit.rpc.tokens import ServiceTokens, TokenIssuer
from meshkit.telemetry.metrics import Metrics
from tests.edge.sagas.mesh import SERVICES, Mesh
from tests.edge.sagas.mesh import shop as shop_principal
from tests.processes import ISSUER

Method: TypeAlias = Callable[[Any, Call], Awaitable[checkout_pb2.Checkout]]
POLICIES: Final = read_policies([DESCRIPTOR])

LEASE_SECONDS: Final = 60.0
"""Long: an owner loses its lease here when a test takes it away."""

ANSWER_SECONDS: Final = 10.0
"""How long a caller waits where nothing else is said."""

CALL_FATES: Final = ("down", "lost", "twice", "late", "dies before", "dies after")
"""What happens to one call of a step. `lost`: it took effect and nobody heard; `late`: it arrives after everything."""

COMMIT_FATES: Final = ("cut before", "cut after", "dies before", "dies after")
"""What happens to one commit of the edge's own. `cut after`: it is durable, but the connection broke unheard."""


class Died(BaseException):
    """The process is gone at this point: nothing of ours runs on."""


@dataclass
class Fate:
    """What happens at the `at`-th call or commit of a request. `points` names those that it came by."""

    kind: str = ""
    at: int = -1
    points: list[str] = field(default_factory=list)
    late: list[tuple[contextvars.Context, Callable[[], Awaitable[object]]]] = field(default_factory=list)
    on_call: Callable[[str], Awaitable[None]] | None = None

    def strikes(self, point: str) -> str:
        """What is to happen at this point."""
        self.points.append(point)
        return self.kind if len(self.points) - 1 == self.at else ""

    async def arrive_late(self) -> None:
        """What was on the wire arrives at last."""
        for context, send in self.late:
            with contextlib.suppress(MeshError):
                await asyncio.create_task(cast("Any", send()), context=context)


fate: Final[ContextVar[Fate | None]] = ContextVar("fate", default=None)
"""That of the request that this task works for."""


class Tampered:
    """A stub of which every call meets its fate."""

    def __init__(self, stub: object) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Message]]:
        method = getattr(self._stub, name)

        async def call(request: Message, **options: float) -> Message:
            return await _struck(name, lambda: method(request, **options))

        return call


async def _struck(name: str, call: Callable[[], Awaitable[Message]]) -> Message:
    own = fate.get()
    kind = own.strikes(name) if own is not None else ""
    if kind == "dies before":
        raise Died
    if kind == "down":
        raise Unavailable("not reached")
    if kind == "late":
        assert own is not None
        own.late.append((contextvars.copy_context(), call))
        raise DeadlineExceeded("not heard of")
    if kind in {"lost", "twice", "dies after"}:
        with contextlib.suppress(MeshError):
            await call()
        if kind == "dies after":
            raise Died
        if kind == "lost":
            raise Unavailable("the answer was lost")
    answer = await call()
    if own is not None and own.on_call is not None:
        await own.on_call(name)
    return answer


def _watch_commits(engine: AsyncEngine) -> None:
    """Every statement that writes is a commit, and meets its fate."""

    def before(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        own = fate.get()
        if own is not None and _writes(statement):
            _struck_at(own.strikes("commit"), "before")

    def after(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        own = fate.get()
        if own is not None and _writes(statement) and len(own.points) - 1 == own.at:
            _struck_at(own.kind, "after")

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)


def _struck_at(kind: str, moment: str) -> None:
    if kind == f"dies {moment}":
        raise Died
    if kind == f"cut {moment}":
        raise psycopg.OperationalError("server closed the connection unexpectedly")


def _writes(statement: str) -> bool:
    return not statement.lstrip().startswith("SELECT")


@dataclass(frozen=True, slots=True)
class EdgeHere:
    """What an edge process does for checkouts."""

    checkouts: Checkouts
    runner: Runner
    takeover: Takeover
    engine: AsyncEngine
    services: Services
    struck_seconds: float
    metrics: Metrics

    async def create(
        self, request: checkout_pb2.CreateCheckoutRequest, principal: Principal | None = None
    ) -> checkout_pb2.Checkout:
        """CreateCheckout."""
        return await self._call("CreateCheckout", self.checkouts.create, request, principal)

    async def confirm(
        self, request: checkout_pb2.ConfirmCheckoutRequest, principal: Principal | None = None
    ) -> checkout_pb2.Checkout:
        """ConfirmCheckout."""
        return await self._call("ConfirmCheckout", self.checkouts.confirm, request, principal)

    async def cancel(
        self, request: checkout_pb2.CancelCheckoutRequest, principal: Principal | None = None
    ) -> checkout_pb2.Checkout:
        """CancelCheckout."""
        return await self._call("CancelCheckout", self.checkouts.cancel, request, principal)

    async def get(self, checkout_id: str, principal: Principal | None = None) -> checkout_pb2.Checkout:
        """GetCheckout."""
        return await self._call("GetCheckout", self.checkouts.get, checkout_id, principal)

    async def list(self, principal: Principal | None = None) -> list[Checkout]:
        """ListCheckouts, as far as one page goes."""
        who = principal or shop_principal()
        call = Call(POLICIES[f"/{DESCRIPTOR.full_name}/ListCheckouts"], who, None, "", "", None)
        return (await self.checkouts.list(Filter(who.client_id), call, rows_max=1000))[0]

    def lease(self, seconds: float) -> None:
        """From now on owners have so much time."""
        for owner in (self.checkouts, self.runner, self.takeover):
            owner._lease_seconds = seconds  # noqa: SLF001 — a setting of the process's start, which others here share

    def clock_ahead(self, by: timedelta) -> None:
        """From now on this process's clock shows a later time than the services'."""
        self.checkouts._clock = ManualClock(SystemClock().now() + by)  # noqa: SLF001 — as above

    def scan_every(self, seconds: float) -> None:
        """From now on so much time lies between two scans."""
        self.takeover._scan_seconds = seconds  # noqa: SLF001 — as above

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The workers of the process run meanwhile."""
        workers = [asyncio.create_task(work()) for work in (self.takeover.run, self.runner.keep_leases)]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def scan(self) -> int:
        """One round of the takeover, to its end."""
        taken = await self.takeover.scan()
        await self.runner.drain()
        return taken

    async def _call(
        self,
        rpc: str,
        method: Callable[[Any, Call], Awaitable[checkout_pb2.Checkout]],
        request: object,
        who: Principal | None,
    ) -> checkout_pb2.Checkout:
        policy = read_policies([DESCRIPTOR])[f"/{DESCRIPTOR.full_name}/{rpc}"]
        own = fate.get()
        seconds = self.struck_seconds if own is not None and own.kind else ANSWER_SECONDS
        deadline = asyncio.get_running_loop().time() + seconds
        call = Call(policy, who or shop_principal(), deadline, "", "", None)

        async def answered() -> checkout_pb2.Checkout:
            current_call.set(call)
            return await method(request, call)

        return await asyncio.create_task(answered())


@contextlib.asynccontextmanager
async def edge_here(
    mesh: Mesh, database_url: str, *, struck_seconds: float = ANSWER_SECONDS
) -> AsyncIterator[EdgeHere]:
    """What `edge_gateway.bootstrap` puts together, as far as checkouts go.

    Callers whose request meets a fate wait for `struck_seconds`.
    """
    targets = {f"{each}_targets": f"127.0.0.1:{mesh.ports[each]}" for each in SERVICES}
    settings = EdgeSettings(database_url=database_url, **targets)  # type: ignore[arg-type]  # all of them are texts
    issuer = TokenIssuer.from_key_file(mesh.keys.signing_key_file, issuer=ISSUER)
    tokens = ServiceTokens(issuer, service="edge", scopes=settings.service_scopes)
    engine = make_engine(database_url, connections_max=20, wait_seconds_max=10)
    _watch_commits(engine)
    metrics = Metrics()
    try:
        async with open_channels(settings, tokens=tokens, metrics=metrics) as channels:
            real = services(channels)
            stubs = Services(*(cast("Any", Tampered(each)) for each in (real.inventory, real.promo, real.profile)))
            runner = Runner(
                engine=engine,
                services=stubs,
                mend=Reevaluation(services=stubs, new_id=new_id),
                policy=POLICIES[f"/{DESCRIPTOR.full_name}/CreateCheckout"],
                lease_seconds=LEASE_SECONDS,
                metrics=metrics,
            )
            checkouts = Checkouts(
                engine=engine,
                services=stubs,
                runner=runner,
                fingerprint_key=await wait_for_fingerprint_key(engine, MIGRATIONS),
                clock=SystemClock(),
                new_id=new_id,
                lease_seconds=LEASE_SECONDS,
            )
            takeover = Takeover(
                engine=engine, runner=runner, lease_seconds=LEASE_SECONDS, scan_seconds=1.0, metrics=metrics
            )
            yield EdgeHere(checkouts, runner, takeover, engine, real, struck_seconds, metrics)
            await runner.drain()
    finally:
        await engine.dispose()
