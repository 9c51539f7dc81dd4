"""Shoppers, who check out over REST: they arrive by chance, or come back as soon as they are answered."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final

from bench.calls import LOCATION, Job, percentiles_ms, sku
from bench.rest import Connection, answer_of, request
from meshkit.core.ids import new_id

PROFILES: Final = 200
PRICE_MINOR: Final = 1_250
LINES: Final = 2
LIMIT: Final = 1_000_000_000
CONNECTIONS_MAX: Final = 1_000
"""More than are waited for at once, unless the mesh has come to a stop."""


def profile(number: int) -> str:
    """One of the profiles that `prepare` makes."""
    return f"shopper-{number:03d}"


async def prepare(job: Job) -> Job:
    """Makes prices, a promotion that every cart gets and whose limit is counted, and profiles."""
    url, token = job["url"], job["token"]

    async def send(method: str, path: str, body: dict[str, Any]) -> None:
        await answer_of(url, request(method, url, path, token=token, body={"requestId": new_id(), **body}))

    prices = [{"sku": sku(n), "currency": "USD", "priceMinor": str(PRICE_MINOR)} for n in range(job["skus"])]
    await send("POST", "/v1/prices:batchUpsert", {"prices": prices})
    await send("POST", "/v1/campaigns", {"campaignId": "bench", "name": "Bench"})
    promotion = {
        "name": "20 % off",
        "condition": "cart.quantity >= 2",
        "benefit": {"percentOffBasisPoints": 2_000},
        "limit": {"total": str(LIMIT)},
    }
    await send("POST", "/v1/campaigns/bench/promotions", promotion)
    for number in range(PROFILES):
        await send("PUT", f"/v1/profiles/{profile(number)}", {"tags": ["bench"]})
    return {}


class Shoppers:
    """Makes checkouts, and remembers how long each step took and how it was answered."""

    def __init__(self, job: Job) -> None:
        """Nothing is open yet."""
        self._url, self._token, self._skus = job["url"], job["token"], job["skus"]
        self._confirms = job["confirms"]
        self._random = random.Random(job["seed"])
        self._free: list[Connection] = []
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self.seconds: dict[str, list[float]] = {"create": [], "confirm": []}
        self.answers: Counter[str] = Counter()

    async def buy(self, due: float) -> None:
        """One checkout; the time of its creation counts from when it was due."""
        lines = [
            {"sku": sku(number), "location": LOCATION, "quantity": "1"}
            for number in self._random.sample(range(self._skus), LINES)
        ]
        body = {"requestId": new_id(), "lines": lines, "profileId": profile(self._random.randrange(PROFILES))}
        answer = await self._step("create", due, "/v1/checkouts", body)
        if answer is None or not self._confirms:
            return
        checkout_id = answer["checkout"]["checkoutId"]
        body = {"requestId": new_id(), "orderReference": f"order-{checkout_id}"}
        await self._step("confirm", monotonic(), f"/v1/checkouts/{checkout_id}:confirm", body)

    def close(self) -> None:
        """Hangs up."""
        for connection in self._free:
            connection.close()

    async def _step(self, name: str, begun: float, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        sent = request("POST", self._url, path, token=self._token, body=body)
        try:
            async with self._connection() as connection:
                status, answer = await connection.ask(sent)
        except (OSError, TimeoutError) as fault:
            self.answers[f"{name} {type(fault).__name__}"] += 1
            return None
        if status != 200:
            self.answers[f"{name} {status} {json.loads(answer).get('reason', '')}".strip()] += 1
            return None
        self.seconds[name].append(monotonic() - begun)
        return json.loads(answer)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._room:
            connection = self._free.pop() if self._free else await Connection.connect(self._url)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._free.append(connection)


async def arrivals(job: Job) -> Job:
    """Checkouts by Poisson arrivals at a rate, whether or not earlier ones are answered."""
    shoppers = Shoppers(job)
    chance = random.Random(job["seed"])
    begin = due = monotonic()
    arrived = 0
    async with asyncio.TaskGroup() as tasks:
        while (due := due + chance.expovariate(job["per_second"])) < begin + job["seconds"]:
            if (ahead := due - monotonic()) > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(shoppers.buy(due))
            arrived += 1
    return {"arrived": arrived, **_report(shoppers, begin)}


async def crowd(job: Job) -> Job:
    """Checkouts of so many shoppers, each of whom begins anew when answered."""
    shoppers = Shoppers(job)
    begin = monotonic()

    async def shopper() -> None:
        while (now := monotonic()) < begin + job["seconds"]:
            await shoppers.buy(now)

    await asyncio.gather(*(shopper() for _ in range(job["shoppers"])))
    return _report(shoppers, begin)


def _report(shoppers: Shoppers, begin: float) -> Job:
    """`per_second` counts what went well, to the last answer; `faults` all else. Hangs up."""
    elapsed = monotonic() - begin
    shoppers.close()
    report: Job = {"faults": dict(shoppers.answers)}
    for name, seconds in shoppers.seconds.items():
        report[name] = {"per_second": len(seconds) / elapsed, "done": len(seconds), **percentiles_ms(seconds)}
    return report
