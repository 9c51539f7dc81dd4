"""The check finds whatever is changed behind the log's back, and names it."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import ManualClock
from promo_svc.domain.campaigns import EndCampaign
from promo_svc.domain.prices import UpsertPrices
from promo_svc.domain.redemptions import Commit, Release, Reverse
from promo_svc.usecases.verify_promo import verify_promo
from promo_svc.wire import events, messages
from tests.promo.shop import HOUR, INSTANT, T0, PromoDatabase, Shop, hold, price, problems


@pytest.fixture
async def busy(shop: Shop, clock: ManualClock) -> Shop:
    """A log of every kind of event."""
    await shop.done(
        UpsertPrices((price("LIP-RED", 2_099), price("LIP-RED", 1_500, "app", "EUR", T0 + INSTANT))),
        UpsertPrices((price("LIP-RED", 1_400, "app", "EUR", T0 + HOUR),)),
        hold("held", "open", "code/WELCOME", profile_id="ann", ttl=3 * HOUR),
        hold("done", "open", "once", profile_id="ben"), Commit("done", "order-1"),
        hold("back", "few"), Commit("back", "order-2"), Reverse("back"),
        hold("free", "few"), Release("free"),
        hold("late", "few"),
        EndCampaign("spring", T0 + 9 * HOUR),
    )  # fmt: skip
    clock.advance(HOUR)
    await shop.done(hold("last", "few"))
    return shop


async def test_a_sound_log_has_no_problems(busy: Shop, engine: AsyncEngine) -> None:
    steps = [step async for step in verify_promo(engine, message_of=messages.noun, made=events.made)]
    assert [problem for step in steps for problem in step.problems] == []
    #                                    counters, prices, campaign, promotions, coupons, redemptions, offers
    assert steps[-1].checked_rows == 10 + 4 + 1 + 4 + 2 + 6 + 8
    assert steps[-1].checked_revision == steps[-1].head_revision == busy.events[-1].revision


async def test_an_empty_log_has_no_problems(database: PromoDatabase, engine: AsyncEngine) -> None:
    assert await problems(engine) == []


BALANCE, HELD, COMMITTED = (
    "a counter is the balance of its last event",
    "held is the number of held offers",
    "committed is the number of committed offers",
)
OFFERS, LIMIT = "offers count as their redemption's state says", "a counter has the limit of its offer"
CAMPAIGN, PROMOTION, COUPON = [f"a {noun} is what its last event says" for noun in ("campaign", "promotion", "coupon")]
REDEMPTION, MADE = "a redemption is what the events of its revision say", "what the log has made has a row"
OPEN, PRICE = "counter of promotion open", "a price is what its last event says"
PLANTED = [
    # what is corrupted, by which statement, the rule that must be named, and its subject
    ("held", "UPDATE counter SET held = 2 WHERE promotion_id = 'open' AND profile_id = ''", BALANCE, OPEN),
    ("held, against offers", "UPDATE counter SET held = 2 WHERE promotion_id = 'open' AND profile_id = ''", HELD, OPEN),
    ("committed", "UPDATE counter SET committed = 0 WHERE promotion_id = 'open' AND profile_id = 'ben'", COMMITTED, f"{OPEN} profile ben"),
    ("a code's counter", "UPDATE counter SET held = 0 WHERE coupon_code = 'WELCOME' AND profile_id = ''", BALANCE, "counter of promotion code code WELCOME"),
    ("a limit", "UPDATE counter SET redemptions_max = 9 WHERE promotion_id = 'few'", LIMIT, "counter of promotion few"),
    ("a counter's revision", "UPDATE counter SET revision = 1 WHERE promotion_id = 'few'", "a counter has the revision of its last event", "counter of promotion few"),
    ("a deleted counter", "DELETE FROM counter WHERE promotion_id = 'few'", "what the log has a balance of has a row", "counter few"),
    ("a price", "UPDATE price SET price_minor = 1 WHERE sku = 'MASCARA'", PRICE, "price of MASCARA"),
    ("a price's tax", "UPDATE price SET tax_included = false WHERE currency = 'EUR'", PRICE, "price of LIP-RED in app"),
    ("a deleted price", "DELETE FROM price WHERE sku = 'MASCARA'", "what the log has a balance of has a row", "price MASCARA"),
    ("a campaign", "UPDATE campaign SET revision = 1", "a campaign has the revision of its last event", "campaign spring"),
    ("a promotion nobody made", "INSERT INTO promotion SELECT 'x', campaign_id, name, condition, selector, percent_off_basis_points, amount_off_minor, amount_off_currency, total_max, per_profile_max, needs_coupon, priority, revision FROM promotion WHERE promotion_id = 'open'", "a promotion has the revision of its last event", "promotion x"),
    ("a coupon nobody made", "INSERT INTO coupon VALUES ('FREE', 'code', 'spring', 0, 0, 3)", "a coupon has the revision of its last event", "coupon FREE"),
    ("a redemption's state", "UPDATE redemption SET state = 'released' WHERE redemption_id = 'held'", OFFERS, "redemption held (released)"),
    ("an offer that is not held any more", "UPDATE redemption_offer SET held_until = NULL WHERE redemption_id = 'held'", OFFERS, "redemption held (held)"),
    ("an offer that is held for longer", "UPDATE redemption_offer SET held_until = '2027-01-01' WHERE redemption_id = 'held'", OFFERS, "redemption held (held)"),
    ("a deleted offer", "DELETE FROM redemption_offer WHERE redemption_id = 'held' AND promotion_id = 'open'", HELD, OPEN),
    ("a redemption without offers", "DELETE FROM redemption_offer WHERE redemption_id = 'free'", "a redemption has offers", "redemption free (released)"),
    ("offers without a redemption", "DELETE FROM redemption WHERE redemption_id = 'held'", "an offer belongs to a redemption", "redemption held offer open"),
    ("a percentage", "UPDATE promotion SET percent_off_basis_points = 9900 WHERE promotion_id = 'open'", PROMOTION, "promotion open"),
    ("an amount", "UPDATE promotion SET amount_off_minor = 999999 WHERE promotion_id = 'code'", PROMOTION, "promotion code"),
    ("a condition", "UPDATE promotion SET condition = 'false' WHERE promotion_id = 'open'", PROMOTION, "promotion open"),
    ("a selector", "UPDATE promotion SET selector = 'false' WHERE promotion_id = 'open'", PROMOTION, "promotion open"),
    ("a promotion's name", "UPDATE promotion SET name = 'x' WHERE promotion_id = 'open'", PROMOTION, "promotion open"),
    ("a priority", "UPDATE promotion SET priority = 7 WHERE promotion_id = 'open'", PROMOTION, "promotion open"),
    ("whether it needs a coupon", "UPDATE promotion SET needs_coupon = false WHERE promotion_id = 'code'", PROMOTION, "promotion code"),
    ("a promotion's limit", "UPDATE promotion SET per_profile_max = 5 WHERE promotion_id = 'few'", PROMOTION, "promotion few"),
    ("a deleted promotion", "DELETE FROM promotion WHERE promotion_id = 'few'", MADE, "promotion few"),
    ("a coupon's limit", "UPDATE coupon SET total_max = 0, per_profile_max = 0 WHERE code = 'SINGLE'", COUPON, "coupon SINGLE"),
    ("a coupon of another promotion", "UPDATE coupon SET promotion_id = 'open' WHERE code = 'SINGLE'", MADE, "coupon code SINGLE"),
    ("a deleted coupon", "DELETE FROM coupon WHERE code = 'SINGLE'", MADE, "coupon code SINGLE"),
    ("a campaign's end", "UPDATE campaign SET end_time = NULL", CAMPAIGN, "campaign spring"),
    ("a campaign's start", "UPDATE campaign SET start_time = '2030-01-01'", CAMPAIGN, "campaign spring"),
    ("a campaign's name", "UPDATE campaign SET name = 'x'", CAMPAIGN, "campaign spring"),
    ("a campaign nobody made", "INSERT INTO campaign VALUES ('ghost', 'g', '2020-01-01', NULL, '2020-01-01', 1)", "a campaign has the revision of its last event", "campaign ghost"),
    ("a deleted campaign", "DELETE FROM coupon; DELETE FROM promotion; DELETE FROM campaign", MADE, "campaign spring"),
    ("an order", "UPDATE redemption SET order_reference = 'stolen' WHERE redemption_id = 'done'", REDEMPTION, "redemption done"),
    ("whose a redemption is", "UPDATE redemption SET client_id = 'client:evil' WHERE redemption_id = 'done'", REDEMPTION, "redemption done"),
    ("who has redeemed", "WITH x AS (UPDATE redemption_offer SET profile_id = 'zed' WHERE redemption_id = 'free') UPDATE redemption SET profile_id = 'zed' WHERE redemption_id = 'free'", REDEMPTION, "redemption free"),
    ("a hold that lasts longer", "WITH x AS (UPDATE redemption_offer SET held_until = held_until + interval '1h' WHERE redemption_id = 'held') UPDATE redemption SET expire_time = expire_time + interval '1h' WHERE redemption_id = 'held'", REDEMPTION, "redemption held"),
    ("a redemption's revision", "UPDATE redemption SET revision = 1 WHERE redemption_id = 'done'", REDEMPTION, "redemption done"),
    ("a state that counts as little", "UPDATE redemption SET state = 'expired' WHERE redemption_id = 'free'", REDEMPTION, "redemption free"),
    ("a release that was a reversal", "UPDATE redemption SET state = 'reversed', order_reference = 'x' WHERE redemption_id = 'free'", REDEMPTION, "redemption free"),
    ("a deleted redemption", "WITH x AS (DELETE FROM redemption_offer WHERE redemption_id = 'free') DELETE FROM redemption WHERE redemption_id = 'free'", MADE, "redemption free"),
    ("a payload", "UPDATE log_event SET payload = payload || '\\x00' WHERE revision = 5 AND index = 0", "hashes chain", "revision 5"),
    ("a balance", "UPDATE log_event SET balances[1] = 77 WHERE kind = 'redemption_held' AND key LIKE '%open%ben'", "balance is the balance before plus the delta", ""),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "rule", "subject"), [case[1:] for case in PLANTED], ids=[c[0] for c in PLANTED])
async def test_what_is_changed_behind_the_logs_back_is_found(  # noqa: PLR0917 — fixtures and the columns of the table
    busy: Shop, database: PromoDatabase, engine: AsyncEngine, statement: str, rule: str, subject: str
) -> None:
    database.rows(statement)
    found = [(problem.rule, problem.subject) for problem in await problems(engine)]
    assert [each for each in found if each[0] == rule and each[1].startswith(subject)], found
