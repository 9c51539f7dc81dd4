"""Two processes of the service, many clients, one limit: it is met exactly, and the log proves it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from beautymesh.promo.v1 import campaign_pb2, log_pb2
from meshkit.core.errors import MeshError
from meshkit.db.migrations import migrate
from meshkit.rpc.tokens import ensure_keys
from promo_svc.store.migrations import MIGRATIONS
from tests.embedded import Embedded
from tests.processes import Stack, process
from tests.promo.clients import Stub, client
from tests.promo.rpc.calls import Stand, campaign, commit, coupons, hold, promotion, release

LIMIT, BUYERS = 60, 240


async def _buys(stub: Stub, stand: Stand, number: int) -> str:
    """One buyer: every third gives back what he got, the others keep it."""
    try:
        made = await stub.HoldRedemption(hold((stand.percent, ""), profile_id=f"buyer-{number % 200}"))
    except MeshError as refused:
        return refused.reason
    if number % 3 == 0:
        await stub.ReleaseRedemption(release(made.redemption_id))
        return "released"
    await stub.CommitRedemption(commit(made.redemption_id))
    return "committed"


async def test_a_limit_is_met_exactly_by_two_processes(embedded: Embedded, tmp_path: Path) -> None:
    url = embedded.make_database("promo")
    migrate(url, MIGRATIONS)
    stack, stand = Stack(url, "", ensure_keys(tmp_path), tmp_path, "promo"), Stand.new("race")
    with process(stack) as one, process(stack) as two:
        async with client(stack, one.target) as first, client(stack, two.target) as second:
            await first.CreateCampaign(campaign(stand))
            await first.CreatePromotion(promotion(stand, stand.percent, limit={"total": LIMIT}))
            await first.CreatePromotion(promotion(stand, stand.amount, needs_coupon=True))
            await first.CreateCoupons(coupons(stand, stand.code, limit={"per_profile": 1}))
            stubs = (first, second)
            found = Counter(await asyncio.gather(*(_buys(stubs[n % 2], stand, n) for n in range(BUYERS))))
            assert sum(found.values()) == BUYERS
            # Whoever came while others still held what they gave back later was refused; the rest take it up now.
            while found["committed"] < LIMIT:
                assert await _buys(first, stand, 1) == "committed"
                found["committed"] += 1
            assert (found["committed"], await _buys(second, stand, 1)) == (LIMIT, "LIMIT_REACHED")
            asked = campaign_pb2.ListPromotionsRequest(campaign_id=stand.campaign)
            (percent, _) = (await second.ListPromotions(asked)).promotions
            assert (percent.held, percent.committed) == (0, LIMIT)
            same = [stubs[n % 2].HoldRedemption(hold((stand.amount, stand.code), profile_id="ann")) for n in range(20)]
            once = await asyncio.gather(*same, return_exceptions=True)
            assert Counter(type(each).__name__ for each in once) == {
                "HoldRedemptionResponse": 1, "LimitReached": 19,
            }  # fmt: skip
            steps = [step async for step in second.VerifyPromo(log_pb2.VerifyPromoRequest(), timeout=30)]
            assert [problem for step in steps for problem in step.problems] == []
            assert steps[-1].done
    embedded.drop_database(url)
