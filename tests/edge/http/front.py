"""The mesh as those see it who have nothing but HTTP: addresses, tokens, goods of a test's own, a look at the books."""
# ruff: noqa: ANN401, ASYNC110 — JSON is anything; what is waited for happens in another process

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from meshctl.up import all_scopes
from meshkit.core.ids import new_id
from tests.e2e.client import Client, Reply
from tests.edge.http.document import assert_documented, operation_of
from tests.edge.sagas.mesh import Mesh, mesh, shop
from tests.embedded import Embedded
from tests.processes import Process

BERLIN: Final = "BERLIN"
SCOPES: Final = all_scopes() | {"promo.price.override"}
"""What a newcomer's token has, and the right to name prices."""

READS: Final = {"inventory": "/v1/stock/levels", "promo": "/v1/prices", "profile": "/v1/profiles"}
"""What each service answers itself."""

REACHED_SECONDS_MAX: Final = 30.0

HOUR: Final = "3600s"
"""A hold that does not lapse while a test compares before with after."""

PROBLEM: Final = frozenset({"type", "title", "status", "detail", "reason", "traceId"})
"""The members of every problem; `metadata` and `violations` come where there is something to say."""


class CheckingClient(Client):
    """A caller that holds every answer against the mesh's own document."""

    def __init__(self, url: str, token: str) -> None:
        """Nothing is asked yet."""
        super().__init__(url, token)
        self.token = token
        self.asked: set[str] = set()

    async def ask(
        self, method: str, target: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """As `Client.ask`; remembers the operation's id where all went well."""
        reply = await super().ask(method, target, body, headers=headers)
        operation_id = operation_of(method, target)
        if operation_id:
            assert_documented(operation_id, reply)
            if reply.status == 200:
                self.asked.add(operation_id)
        return reply


@dataclass(frozen=True, slots=True)
class Front:
    """A mesh that is up, and its one edge."""

    mesh: Mesh
    processes: dict[str, Process]

    @property
    def url(self) -> str:
        """Where the edge answers REST."""
        (serving,) = self.processes["edge"].said("serving")
        return serving["http"]

    def token(self, client: str = "client:test", *, scopes: frozenset[str] = SCOPES, **grants: frozenset[str]) -> str:
        """A token of the mesh's own issuer; `grants` are `channels` and `locations`."""
        return self.mesh.token(shop(client, scopes=scopes, **grants))

    def client(self, token: str | None = None) -> CheckingClient:
        """A caller; one that shows no token where it is empty."""
        return CheckingClient(self.url, self.token() if token is None else token)

    @contextlib.asynccontextmanager
    async def without(self, service: str) -> AsyncIterator[None]:
        """Kills a service as a power cut would. At the end of the block it is started, and the edge has found it."""
        self.processes[service].kill()
        try:
            yield
        finally:
            self.processes[service] = self.mesh.process(service)
            await asyncio.to_thread(self.processes[service].wait_until_serving)
        async with asyncio.timeout(REACHED_SECONDS_MAX), self.client() as caller:
            while (await caller.get(READS[service])).status == 503:
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def standing_front(embedded: Embedded, folder: Path) -> Iterator[Front]:
    """Starts the mesh, and stops it at the end of the block."""
    with mesh(embedded, folder) as (made, processes):
        front = Front(made, processes)
        deadline = time.monotonic() + REACHED_SECONDS_MAX
        while requests.get(f"{front.url}/readyz", timeout=REACHED_SECONDS_MAX).status_code != 200:
            assert time.monotonic() < deadline, processes["edge"].log()
            time.sleep(0.05)
        yield front


async def make_goods(api: Client, units: int = 10, *, sku: str = "", price_minor: int = 1_000) -> str:
    """A new SKU in Berlin with a price in US dollars. Returns it."""
    sku = sku or f"SKU-{new_id()}"
    (await api.post("/v1/skus:batchUpsert", {"skus": [{"sku": sku, "name": sku}]})).ok()
    (await api.post("/v1/locations:batchUpsert", {"locations": [{"location": BERLIN, "name": "Berlin"}]})).ok()
    price = {"sku": sku, "currency": "USD", "priceMinor": str(price_minor)}
    (await api.post("/v1/prices:batchUpsert", {"prices": [price]})).ok()
    if units:
        (await api.post("/v1/stock:receive", {"lines": [line(sku, units)]})).ok()
    return sku


def line(sku: str, quantity: object = 1) -> dict[str, Any]:
    """A line of whatever has lines."""
    return {"sku": sku, "location": BERLIN, "quantity": quantity}


async def open_checkout(api: Client, sku: str, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """A checkout of so many units, held for an hour unless `fields` say otherwise."""
    body = {"lines": [line(sku, quantity)], "ttl": HOUR, **fields}
    checkout: dict[str, Any] = (await api.post("/v1/checkouts", body)).ok()["checkout"]
    return checkout


async def counters(api: Client, sku: str) -> tuple[int, int, int]:
    """Units on hand, reserved and allocated in Berlin."""
    (level,) = (await api.get(f"/v1/stock/levels?skus={sku}&location={BERLIN}")).ok()["levels"]
    found = level["counters"]
    return int(found["onHand"]), int(found["reserved"]), int(found["allocated"])


EVENTS: Final = {"/v1/skus": "/v1/stock/events", "/v1/prices": "/v1/promo/events"}
"""Where the events of a log are that a hold of another test's may lapse in, by where its head is."""


async def read_heads(api: Client) -> dict[str, int]:
    """The head of every log."""
    return {
        path: int((await api.get(f"{path}?pageSize=1")).ok()["revision"])
        for path in ("/v1/skus", "/v1/prices", "/v1/profiles")
    }


async def deeds_after(api: Client, path: str, revision: int) -> list[Any]:
    """What somebody has done since then; time, which goes on for what other tests hold, is nobody."""
    events = (await api.get(f"{EVENTS[path]}?afterRevision={revision}&pageSize=1000")).ok()["events"]
    return [each for each in events if not each["requestId"].startswith("expire:")]


async def read_checkouts(api: Client) -> dict[str, Any]:
    """The checkouts of this client that came to be."""
    checkouts = (await api.get("/v1/checkouts?pageSize=1000")).ok()["checkouts"]
    return {
        each["checkoutId"]: each | {"updateTime": ""}  # a worker tidies up some time after a checkout has expired
        for each in checkouts
        if each["state"] != "CHECKOUT_STATE_REFUSED"
    }


@contextlib.asynccontextmanager
async def nothing_done(api: Client) -> AsyncIterator[None]:
    """Asserts that the block has left no trace in any service."""
    heads, before = await read_heads(api), await read_checkouts(api)
    yield
    now, after = await read_heads(api), await read_checkouts(api)
    done = {
        path: await deeds_after(api, path, heads[path]) if path in EVENTS else now[path]
        for path in heads
        if heads[path] != now[path]
    }
    assert not any(done.values()), done
    changed = [
        (before.get(name), after.get(name))
        for name in before | after
        if before.get(name) != after.get(name) and not _has_lapsed(before.get(name), after.get(name))
    ]
    assert changed == []


def _has_lapsed(before: Any, after: Any) -> bool:
    """Whether time alone has ended the checkout, which is another test's then."""
    return bool(before and after) and before | {"state": "CHECKOUT_STATE_EXPIRED"} == after


def assert_problem(reply: Reply, status: int, reason: str, *fields: str) -> dict[str, Any]:
    """Asserts a whole problem document (RFC 9457), which names exactly these fields. Returns it."""
    assert (reply.status, reply.reason) == (status, reason), reply
    problem: dict[str, Any] = reply.json()
    assert problem["type"] == "urn:beautymesh:problem:" + reason.lower().replace("_", "-")
    assert problem.keys() - {"metadata", "violations"} == PROBLEM, problem
    assert problem["title"]
    assert problem["detail"]
    assert len(problem["traceId"]) == 32
    assert [each["field"] for each in problem.get("violations", ())] == list(fields), problem
    assert reply.headers["cache-control"] == "no-store"
    return problem
