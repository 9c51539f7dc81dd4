"""Campaigns, promotions, coupons and prices: what makes and changes them, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshkit.core.decision import Facts, Origin
from meshkit.core.errors import MeshError
from promo_svc.domain.campaigns import (
    CampaignReply,
    CreateCampaign,
    CreateCoupons,
    CreatePromotion,
    EndCampaign,
    capitals,
)
from promo_svc.domain.decide import Body, Event, Reply, WorkingSet, apply, decide
from promo_svc.domain.prices import PriceSet, PricesUpserted, UpsertPrices
from tests.promo.shop import HOUR, INSTANT, T0, price, promotion

DAY = timedelta(days=1)


class Book:
    """A working set that commands change one after the other, without a database."""

    def __init__(self) -> None:
        self.state = WorkingSet()
        self.now = T0
        self.revision = 0

    def do(self, body: Body) -> tuple[list[Event], Reply]:
        facts = Facts(self.now, self.revision + 1, Origin("user:ann", "client:shop"))
        decision = decide(self.state, body, facts)
        if decision.events:
            apply(self.state, decision, facts)
            self.revision += 1
        return list(decision.events), decision.reply


@pytest.fixture
def book() -> Book:
    """A campaign of a day, one promotion by code, one without."""
    book = Book()
    book.do(CreateCampaign("c", "Spring", None, T0 + DAY))
    book.do(CreatePromotion(promotion("p", campaign_id="c", needs_coupon=True)))
    book.do(CreatePromotion(promotion("open", campaign_id="c")))
    book.do(CreateCoupons("c", "p", ("USED",)))
    return book


def test_an_unchanged_price_writes_nothing() -> None:
    book = Book()
    events, reply = book.do(UpsertPrices((price("A", 100), price("B", 200))))
    assert (len(events), reply) == (2, PricesUpserted(2, 0, 0, 1))
    assert book.do(UpsertPrices((price("A", 100),))) == ([], PricesUpserted(0, 0, 1, 1))
    events, reply = book.do(UpsertPrices((price("A", 100), price("B", 250), price("A", 90, "webshop"))))
    assert events == [PriceSet(price("B", 250), price("B", 200)), PriceSet(price("A", 90, "webshop"), None)]
    assert reply == PricesUpserted(1, 1, 1, 2)


def test_a_campaign_runs_from_its_start_until_its_end_to_the_instant(book: Book) -> None:
    campaign = book.state.campaigns["c"]
    assert [campaign.runs(T0 + since) for since in (-INSTANT, 0 * DAY, DAY - INSTANT, DAY)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_an_end_may_be_moved_until_it_has_come(book: Book) -> None:
    _, reply = book.do(EndCampaign("c", T0 + 2 * DAY))
    assert isinstance(reply, CampaignReply)
    assert (reply.campaign.end_time, reply.revision) == (T0 + 2 * DAY, 5)
    assert book.do(EndCampaign("c", T0 + 2 * DAY))[0] == []
    _, reply = book.do(EndCampaign("c", T0 - HOUR))
    assert isinstance(reply, CampaignReply)
    assert reply.campaign.end_time == T0


REFUSED: list[tuple[str, Body, str]] = [
    ("a campaign of a known id", CreateCampaign("c", "Again"), "ID_TAKEN"),
    ("a campaign that would end at once", CreateCampaign("d", "Short", None, T0), "INVALID_REQUEST"),
    ("the end of no campaign", EndCampaign("none"), "UNKNOWN_CAMPAIGN"),
    ("a promotion of no campaign", CreatePromotion(promotion("q", campaign_id="none")), "UNKNOWN_CAMPAIGN"),
    ("a promotion of a known id", CreatePromotion(promotion("p", campaign_id="c")), "ID_TAKEN"),
    ("codes of no promotion", CreateCoupons("c", "none", ("A",)), "UNKNOWN_PROMOTION"),
    ("codes of another campaign's promotion", CreateCoupons("d", "p", ("A",)), "UNKNOWN_PROMOTION"),
    ("codes of a promotion without", CreateCoupons("c", "open", ("A",)), "WRONG_STATE"),
    ("a code twice", CreateCoupons("c", "p", ("A", "A")), "DUPLICATE_LINE"),
    ("a code that is in use", CreateCoupons("c", "p", ("A", "USED")), "CODE_TAKEN"),
    ("a price twice", UpsertPrices((price("A", 1), price("A", 2))), "DUPLICATE_LINE"),
]


@pytest.mark.parametrize(("body", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(book: Book, body: Body, reason: str) -> None:
    before = book.revision
    with pytest.raises(MeshError) as refused:
        book.do(body)
    assert (refused.value.reason, book.revision) == (reason, before)


def test_a_campaign_that_has_ended_stays_so(book: Book) -> None:
    book.now = T0 + DAY
    with pytest.raises(MeshError) as refused:
        book.do(EndCampaign("c", T0 + 3 * DAY))
    assert refused.value.reason == "CAMPAIGN_ENDED"


def test_only_ascii_codes_become_capitals() -> None:
    assert [capitals(code) for code in ("Wel-come_1", "\u0131", "\u00df")] == ["WEL-COME_1", "\u0131", "\u00df"]
