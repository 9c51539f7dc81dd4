"""Carts on the real database: the time of prices and campaigns, lapsed holds, and what is read again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import ManualClock
from meshkit.core.errors import Unavailable
from promo_svc.domain.campaigns import CreateCampaign, CreatePromotion, EndCampaign, Promotion
from promo_svc.domain.evaluate import ProfileFacts, Reason
from promo_svc.domain.prices import UpsertPrices
from promo_svc.errors import NoPrice
from promo_svc.rules.engine import Rule, RuleEngine
from promo_svc.usecases.evaluate_cart import Cart, EvaluateCart, PricedCart, WantedLine
from tests.meshkit.log.tally import running
from tests.promo.shop import HOUR, INSTANT, T0, Shop, amount_off, hold, price, promotion

RULES = RuleEngine()


async def nobody(profile_id: str) -> ProfileFacts:
    raise Unavailable(profile_id)


@pytest.fixture
def evaluate(engine: AsyncEngine, clock: ManualClock) -> EvaluateCart[Rule]:
    """On the shop's database, without a profile service."""
    return EvaluateCart(engine=engine, clock=clock, rules=RULES, profile_facts=nobody)


def cart(*codes: str, profile_id: str = "", excluded: tuple[str, ...] = ("few", "once")) -> Cart:
    """One lipstick of 19.99, without the offers that a test does not look at."""
    return Cart(
        (WantedLine("LIP-RED", 1),), "default", "USD", codes, profile_id, excluded_promotion_ids=frozenset(excluded)
    )


def applied(found: PricedCart) -> list[str]:
    return [each.promotion.promotion_id for each in found.evaluation.applied]


def rejected(found: PricedCart) -> list[tuple[str, str, Reason]]:
    return [(each.promotion_id, each.code, each.reason) for each in found.evaluation.rejected]


async def test_prices_are_those_of_the_instant(shop: Shop, clock: ManualClock, evaluate: EvaluateCart[Rule]) -> None:
    await shop.done(
        UpsertPrices((price("LIP-RED", 1_500, valid_from=T0 + HOUR), price("NEW", 1, valid_from=T0 + HOUR)))
    )
    clock.advance(HOUR - INSTANT)
    assert (await evaluate(cart())).lines[0].unit_price_minor == 1_999
    with pytest.raises(NoPrice):
        await evaluate(Cart((WantedLine("NEW", 1),), "default", "USD"))
    clock.advance(INSTANT)
    found = await evaluate(cart())
    assert (found.lines[0].unit_price_minor, found.evaluate_time) == (1_500, T0 + HOUR)


async def test_the_time_is_the_logs_where_a_clock_lags(shop: Shop, evaluate: EvaluateCart[Rule]) -> None:
    ahead = Shop(shop._url, ManualClock(T0 + HOUR))  # noqa: SLF001 — the same database
    async with running(ahead):
        await ahead.done(UpsertPrices((price("LIP-RED", 1_500, valid_from=T0 + HOUR),)))
    found = await evaluate(cart())
    assert (found.lines[0].unit_price_minor, found.evaluate_time) == (1_500, T0 + HOUR)


async def test_a_lapsed_hold_counts_no_more_though_nobody_has_expired_it(
    shop: Shop, clock: ManualClock, evaluate: EvaluateCart[Rule]
) -> None:
    await shop.done(hold("a", "few"), hold("b", "few", ttl=2 * HOUR))
    wanted = cart(excluded=("open", "once"))
    clock.advance(HOUR - INSTANT)
    assert rejected(await evaluate(wanted)) == [("few", "", Reason.LIMIT_REACHED)]
    clock.advance(INSTANT)
    assert applied(await evaluate(wanted)) == ["few"]


async def test_limits_of_profiles_and_codes(shop: Shop, evaluate: EvaluateCart[Rule]) -> None:
    await shop.done(hold("a", "once", "code/SINGLE", profile_id="ann"))
    of_ann = await evaluate(cart("single", "Welcome", profile_id="ann", excluded=("few", "open")))
    assert applied(of_ann) == ["code"]
    assert [each.coupon_code for each in of_ann.evaluation.applied] == ["WELCOME"]
    assert rejected(of_ann) == [
        ("code", "single", Reason.PROFILE_LIMIT_REACHED), ("once", "", Reason.PROFILE_LIMIT_REACHED),
    ]  # fmt: skip
    of_ben = await evaluate(cart("single", "SINGLE", profile_id="ben", excluded=("few", "open")))
    assert (applied(of_ben), rejected(of_ben)) == (["code", "once"], [])
    guest = await evaluate(cart("single", excluded=("few", "open", "once")))
    assert rejected(guest) == [("code", "single", Reason.PROFILE_LIMIT_REACHED)]


async def test_what_changes_about_offers_is_seen_by_the_next_cart(
    shop: Shop, clock: ManualClock, evaluate: EvaluateCart[Rule]
) -> None:
    assert applied(await evaluate(cart())) == ["open"]
    await shop.done(
        CreateCampaign("soon", "Soon", T0 + HOUR, T0 + 2 * HOUR),
        CreatePromotion(promotion("more", amount_off(100), campaign_id="soon", priority=-1)),
    )
    assert applied(await evaluate(cart())) == ["open"]
    clock.advance(HOUR)
    assert applied(await evaluate(cart())) == ["more", "open"]
    await shop.done(EndCampaign("spring"))
    assert applied(await evaluate(cart())) == ["more"]
    clock.advance(HOUR)
    assert applied(await evaluate(cart())) == []


async def test_a_profile_is_asked_for_only_where_an_offer_wants_to_know(
    shop: Shop, clock: ManualClock, engine: AsyncEngine, evaluate: EvaluateCart[Rule]
) -> None:
    assert applied(await evaluate(cart(profile_id="ann"))) == ["open"]
    await shop.done(CreatePromotion(promotion("gold", condition="'gold' in profile.tags")))
    assert applied(await evaluate(cart())) == ["open"]
    with pytest.raises(Unavailable):
        await evaluate(cart(profile_id="ann"))
    assert applied(await evaluate(cart(profile_id="ann", excluded=("few", "once", "gold")))) == ["open"]

    async def known(profile_id: str) -> ProfileFacts:
        return ProfileFacts(known=True, tags=("gold",), order_count=0)

    asking = EvaluateCart(engine=engine, clock=clock, rules=RULES, profile_facts=known)
    assert applied(await asking(cart(profile_id="ann"))) == ["gold", "open"]


class CountingRules(RuleEngine):
    """Says what was compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[str] = []

    def compile(self, promotion: Promotion) -> Rule:
        self.compiled.append(promotion.promotion_id)
        return super().compile(promotion)


async def test_what_has_changed_is_read_and_compiled_once_for_all_carts(
    shop: Shop, engine: AsyncEngine, clock: ManualClock
) -> None:
    rules = CountingRules()
    evaluate = EvaluateCart(engine=engine, clock=clock, rules=rules, profile_facts=nobody)
    found = await asyncio.gather(*[evaluate(cart()) for _ in range(8)])
    assert {*map(tuple, map(applied, found))} == {("open",)}
    assert sorted(rules.compiled) == ["few", "once", "open"]
    await shop.done(CreatePromotion(promotion("more", amount_off(100), priority=-1)), EndCampaign("spring", T0 + HOUR))
    found = await asyncio.gather(*[evaluate(cart()) for _ in range(8)])
    assert {*map(tuple, map(applied, found))} == {("more", "open")}
    assert rules.compiled[3:] == ["more"]
    clock.advance(HOUR)
    assert applied(await evaluate(cart())) == []


async def test_a_code_is_looked_up_whatever_else_runs(shop: Shop, engine: AsyncEngine, clock: ManualClock) -> None:
    rules = CountingRules()
    evaluate = EvaluateCart(engine=engine, clock=clock, rules=rules, profile_facts=nobody)
    assert applied(await evaluate(cart("welcome", "nope", profile_id="ann"))) == ["code", "open"]
    assert sorted(rules.compiled) == ["code", "few", "once", "open"]
    await shop.done(EndCampaign("spring"))
    assert rejected(await evaluate(cart("WELCOME"))) == [("", "WELCOME", Reason.UNKNOWN_COUPON)]


async def test_an_evaluation_has_no_effect(shop: Shop, evaluate: EvaluateCart[Rule]) -> None:
    before = len(shop.events)
    found = await evaluate(cart("WELCOME", profile_id="ann", excluded=()))
    assert applied(found) == ["code", "few", "once", "open"]
    assert (len(shop.events), found.revision) == (before, shop.events[-1].revision)
    assert timedelta(0) == found.evaluate_time - T0
