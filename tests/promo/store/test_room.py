"""As many promotions may run without a coupon as a cart can be tried against in time."""

from __future__ import annotations

from promo_svc.domain.campaigns import PROMOTIONS_MAX, CreateCampaign, CreatePromotion, EndCampaign
from tests.promo.shop import PromoDatabase, Shop, promotion

IN_SHOP = 3
"""Promotions of the shop that need no coupon."""


def fill(database: PromoDatabase, promotions: int, *, campaign_id: str = "spring") -> None:
    """Promotions behind the log's back: thousands of commands would take too long."""
    database.rows(f"""
        INSERT INTO promotion
        SELECT '{campaign_id}' || n, '{campaign_id}', 'n', '', '', 1, NULL, NULL, 0, 0, false, 0, 1
        FROM generate_series(1, {promotions}) AS n""")


async def test_one_promotion_too_many_is_refused_until_a_campaign_ends(shop: Shop, database: PromoDatabase) -> None:
    await shop.done(CreateCampaign("sale", "Sale"))
    fill(database, 10, campaign_id="sale")
    fill(database, PROMOTIONS_MAX - IN_SHOP - 10 - 1)
    await shop.done(CreatePromotion(promotion("last")))
    refused = await shop.refusal(CreatePromotion(promotion("late")))
    assert (refused.reason, refused.metadata["promotions_max"]) == ("TOO_MANY_PROMOTIONS", str(PROMOTIONS_MAX))
    assert database.rows("SELECT FROM promotion WHERE promotion_id = 'late'") == []
    await shop.done(CreatePromotion(promotion("by-code", needs_coupon=True)), EndCampaign("sale"))
    await shop.done(CreatePromotion(promotion("late")), CreatePromotion(promotion("over", campaign_id="sale")))


async def test_those_of_one_batch_count(shop: Shop, database: PromoDatabase) -> None:
    fill(database, PROMOTIONS_MAX - IN_SHOP - 1)
    answers = await shop.do(*[CreatePromotion(promotion(name)) for name in ("a", "b")])
    assert [getattr(each, "reason", "made") for each in answers] == ["made", "TOO_MANY_PROMOTIONS"]
