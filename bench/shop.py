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

LATE_SECONDS: Final = 0.25
"""What the last arrival may take beyond the window: ten times the aim for a step. Whatever waits longer is a queue."""


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
        self.bought_at: list[float] = []

    async def buy(self, due: float) -> None:
        """One checkout; the time of its creation counts from when it was due."""
        lines = [
            {"sku": sku(number), "location": LOCATION, "quantity": "1"}
            for number in self._random.sample(range(self._skus), LINES)
        ]
        body = {"requestId": new_id(), "lines": lines, "profileId": profile(self._random.randrange(PROFILES))}
        answer = await self._step("create", due, "/v1/checkouts", body)
        if answer is not None and self._confirms:
            checkout_id = answer["checkout"]["checkoutId"]
            body = {"requestId": new_id(), "orderReference": f"order-{checkout_id}"}
            answer = await self._step("confirm", monotonic(), f"/v1/checkouts/{checkout_id}:confirm", body)
        if answer is not None:
            self.bought_at.append(monotonic())

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
    """Checkouts that arrive by chance at a rate, whether or not earlier ones are answered.

    As many as the rate says, at times drawn evenly: Poisson arrivals of which the number is known, so that the rate is
    that of the machine and not of the dice. `in_time` are those that were done when the window was over.
    """
    shoppers = Shoppers(job)
    chance = random.Random(job["seed"])
    arrived = round(job["per_second"] * job["seconds"])
    begin = monotonic()
    async with asyncio.TaskGroup() as tasks:
        for due in sorted(begin + chance.uniform(0, job["seconds"]) for _ in range(arrived)):
            if (ahead := due - monotonic()) > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(shoppers.buy(due))
    end = begin + job["seconds"] + LATE_SECONDS
    in_time = sum(each <= end for each in shoppers.bought_at)
    return {"arrived": arrived, "in_time": in_time, **_report(shoppers, begin)}


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
