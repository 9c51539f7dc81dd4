"""Many checkouts at once, a random fate over every call and commit, and owners that are robbed of their leases."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from beautymesh.edge.v1 import checkout_pb2
from meshkit.core.errors import Kind, MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.here import CALL_FATES, COMMIT_FATES, Died, EdgeHere, Fate, edge_here, fate
from tests.edge.sagas.mesh import Mesh
from tests.edge.sagas.shop import (
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    GONE,
    OPEN,
    Shop,
    cancel_of,
    cart,
    confirm_of,
    line,
)
from tests.edge.store.rows import EdgeDatabase
from tests.sizes import FULL, SIZES, seeded

BUYERS = 400 if SIZES is FULL else 40
AT_ONCE = 12
REPEATS_MAX = 200
CALM_SCANS_MAX = 10
UNITS, REDEMPTIONS = BUYERS, BUYERS // 4
"""Fewer than are asked for, so that stock and offers run out under way."""


@dataclass
class Storm(Fate):
    """Strikes at random."""

    random: random.Random = field(default_factory=random.Random)
    chance: float = 0.0

    def strikes(self, point: str) -> str:
        """Anything that may happen there."""
        self.points.append(point)
        self.at = -1
        if self.random.random() >= self.chance:
            return ""
        self.at = len(self.points) - 1
        self.kind = self.random.choice(COMMIT_FATES if point == "commit" else CALL_FATES)
        return self.kind


@dataclass
class Crowd:
    """Buyers on one edge; whoever asks, and whoever takes over, does so in the storm."""

    shop: Shop
    edge: EdgeHere
    database: EdgeDatabase
    random: random.Random
    skus: list[str]
    storms: list[Storm] = field(default_factory=list)
    answers: dict[str, list[object]] = field(default_factory=dict)
    buying: bool = True

    def storm(self) -> Storm:
        """One more, that the books wait for."""
        self.storms.append(Storm(random=self.random, chance=0.12))
        return self.storms[-1]

    async def ask(self, name: str, call: Callable[[], Awaitable[checkout_pb2.Checkout]]) -> object:
        """Repeats the same request until there is an answer that lasts: the checkout, or the reason of a refusal."""
        for _ in range(REPEATS_MAX):
            fate.set(self.storm())
            try:
                answer: object = await call()
            except Died:
                continue
            except MeshError as fault:
                if fault.kind in {Kind.UNAVAILABLE, Kind.LATE, Kind.CONFLICT}:
                    await asyncio.sleep(0.02)
                    continue
                answer = fault.reason
            finally:
                fate.set(None)
            self.answers.setdefault(name, []).append(answer)
            return answer
        raise AssertionError(f"{name}: no answer after {REPEATS_MAX} repeats")

    async def buyer(self) -> None:
        """Opens a checkout; then sells it, drops it, does both at once, or leaves it."""
        me = new_id()
        lines = [
            line(sku, self.random.randrange(1, 4)) for sku in self.random.sample(self.skus, self.random.randrange(1, 3))
        ]
        asked = cart(*lines, profile_id=f"p-{me}", request_id=f"create-{me}")
        opened = await self.ask(f"create {me}", lambda: self.edge.create(asked))
        if not isinstance(opened, checkout_pb2.Checkout):
            return
        wishes = {
            "confirm": lambda: self.edge.confirm(confirm_of(opened, request_id=f"confirm-{me}")),
            "cancel": lambda: self.edge.cancel(cancel_of(opened, request_id=f"cancel-{me}")),
        }
        chosen = self.random.choice([["confirm"], ["confirm"], ["cancel"], ["confirm", "cancel"], []])
        await asyncio.gather(
            *[asyncio.create_task(self.ask(f"{wish} {me}", wishes[wish])) for wish in chosen for _ in range(2)]
        )

    async def robbers(self) -> None:
        """Take over everything again and again, also from owners that are alive."""
        while self.buying:
            self.database.age(120, "lease_until")
            fate.set(self.storm())
            with contextlib.suppress(Died, MeshError):
                await self.edge.takeover.scan()
            fate.set(None)
            await asyncio.sleep(0.05)


async def test_after_a_storm_the_books_are_right(whole_mesh: Mesh, shop: Shop, own_checkouts: EdgeDatabase) -> None:
    own_random = seeded("checkout storm")
    skus = [await shop.sku(UNITS) for _ in range(2)]
    offers = [await shop.promotion(sku, total=REDEMPTIONS) for sku in skus]
    room = asyncio.Semaphore(AT_ONCE)
    async with edge_here(whole_mesh, own_checkouts.url) as edge:
        crowd = Crowd(shop, edge, own_checkouts, own_random, skus)

        async def buyer() -> None:
            async with room:
                await crowd.buyer()

        async with asyncio.TaskGroup() as group:
            robbers = group.create_task(crowd.robbers())
            await asyncio.gather(*[group.create_task(buyer()) for _ in range(BUYERS)])
            crowd.buying = False
            await robbers
        await edge.runner.drain()
        for _ in range(CALM_SCANS_MAX):
            own_checkouts.age(120, "lease_until")
            if not await edge.scan():
                break
        assert own_checkouts.rows("SELECT checkout_id, work FROM checkout WHERE work <> ''") == []
        for storm in crowd.storms:
            await storm.arrive_late()
        rows = own_checkouts.rows("SELECT checkout_id FROM checkout")
        left = {row[0]: await edge.get(row[0]) for row in rows}
    await shop.assert_books(left.values(), skus=skus, promotions=offers)
    assert_every_answer_still_holds(crowd, left)


def assert_every_answer_still_holds(crowd: Crowd, left: dict[str, checkout_pb2.Checkout]) -> None:
    """Who was told that it is sold has bought it; who was told that it is open has what was promised."""
    promised = [
        each for answers in crowd.answers.values() for each in answers if isinstance(each, checkout_pb2.Checkout)
    ]
    assert promised, "the storm did not test"
    for each in promised:
        now = left[each.checkout_id]
        assert (now.lines, now.totals, now.redemption_id) == (each.lines, each.totals, each.redemption_id)
        if each.state == CONFIRMED:
            assert now.state == CONFIRMED
        if each.state in {CANCELLED, EXPIRED}:
            assert now.state == each.state
    told = {each.checkout_id for each in promised}
    unheard = [each for each in left.values() if each.checkout_id not in told and each.state not in GONE]
    assert unheard == [], "a checkout that nobody was told of lives on"
    wishes = {name.split()[1] for name in crowd.answers if name.startswith(("confirm", "cancel"))}
    left_open = [each for each in left.values() if each.state == OPEN and each.profile_id.removeprefix("p-") in wishes]
    assert left_open == [], "a wish was answered and nothing was done"
