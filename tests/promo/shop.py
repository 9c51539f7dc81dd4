"""Promo's writer on a real database, without the service around it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.decision import Origin
from meshkit.core.errors import MeshError
from meshkit.core.money import Money
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Answer, Command, EventRow, Fence, Head
from meshkit.log.verify import Problem
from meshkit.log.writer import LogWriter
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from promo_svc.bootstrap import PromoModel
from promo_svc.domain.campaigns import (
    AmountOff,
    Benefit,
    CreateCampaign,
    CreateCoupons,
    CreatePromotion,
    Limit,
    PercentOff,
    Promotion,
)
from promo_svc.domain.counters import Offer
from promo_svc.domain.decide import Body, Event, Reply, WorkingSet
from promo_svc.domain.prices import ALWAYS, Price, PriceKey, UpsertPrices
from promo_svc.domain.redemptions import Hold
from promo_svc.usecases.verify_promo import verify_promo
from promo_svc.wire import events, messages
from tests.meshkit.log.tally import Database

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
TABLES = (
    "log_head, log_event, log_request, log_saga_fence, "
    "price, campaign, promotion, coupon, counter, redemption, redemption_offer"
)
TWENTY_PERCENT = PercentOff(2_000)

_numbers = itertools.count(1)


def price(sku: str, minor: int, channel: str = "", currency: str = "USD", valid_from: datetime = ALWAYS) -> Price:
    return Price(PriceKey(sku, channel, currency, valid_from), minor, tax_included=True)


def amount_off(minor: int, currency: str = "USD") -> AmountOff:
    return AmountOff(Money(minor, currency))


def promotion(
    promotion_id: str,
    benefit: Benefit = TWENTY_PERCENT,
    *,
    campaign_id: str = "spring",
    limit: tuple[int, int] = (0, 0),
    needs_coupon: bool = False,
    priority: int = 0,
    condition: str = "",
    selector: str = "",
) -> Promotion:
    return Promotion(
        promotion_id=promotion_id,
        campaign_id=campaign_id,
        name=f"name of {promotion_id}",
        benefit=benefit,
        condition=condition,
        selector=selector,
        limit=Limit(*limit),
        needs_coupon=needs_coupon,
        priority=priority,
    )


def hold(redemption_id: str, *offers: str, profile_id: str = "", ttl: timedelta = HOUR) -> Hold:
    """A hold; an offer is `promotion` or `promotion/CODE`."""
    used = [Offer(*each.split("/")) for each in offers]
    return Hold(redemption_id, tuple(used), profile_id, ttl)


class Shop(LogWriter[Body, WorkingSet, Event, Reply]):
    """A writer that keeps the events that it committed."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.events: list[EventRow] = []

        def committed(events: Sequence[EventRow], head: Head) -> None:
            self.events.extend(events)

        super().__init__(
            PromoModel(),
            url=url,
            clock=clock,
            limits=Limits(decide_seconds_max=10.0),
            metrics=LogMetrics(Metrics()),
            tracing=Tracing(),
            on_commit=committed,
        )

    def command(self, body: Body, *, client: str = "client:shop", saga: tuple[str, int] | None = None) -> Command[Body]:
        """A command under an id of its own."""
        fence = Fence(*saga) if saga else None
        origin = Origin("user:ann", client)
        return Command(body, type(body).__name__, f"r{next(_numbers)}", origin, fence=fence)

    async def do(self, *bodies: Body) -> list[Answer | MeshError]:
        """Does the commands in one batch."""
        return await self.submit_all([self.command(body) for body in bodies])

    async def done(self, *bodies: Body) -> None:
        """Does the commands, of which none may be refused."""
        for answer in await self.do(*bodies):
            assert isinstance(answer, Answer), answer

    async def refusal(self, body: Body) -> MeshError:
        """Why the command is refused."""
        (refused,) = await self.do(body)
        assert isinstance(refused, MeshError), refused
        return refused

    async def fill(self) -> None:
        """A campaign that runs; `open` without a limit, `few` for 2, `once` once a profile, `code` by coupon."""
        await self.done(
            UpsertPrices((price("LIP-RED", 1_999), price("MASCARA", 2_450))),
            CreateCampaign("spring", "Spring"),
            CreatePromotion(promotion("open")),
            CreatePromotion(promotion("few", limit=(2, 0))),
            CreatePromotion(promotion("once", limit=(0, 1))),
            CreatePromotion(promotion("code", amount_off(500), needs_coupon=True)),
            CreateCoupons("spring", "code", ("WELCOME", "SINGLE"), Limit(2, 1)),
        )


class PromoDatabase(Database):
    """A second look at promo's tables."""

    tables = TABLES

    def counters(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Held and committed of every counter that is not zero, by (promotion, code, profile)."""
        rows = self.rows("SELECT promotion_id, coupon_code, profile_id, held, committed FROM counter")
        return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows if row[3] or row[4]}

    def states(self) -> dict[str, str]:
        """The state of every redemption."""
        return dict(self.rows("SELECT redemption_id, state FROM redemption"))


async def problems(engine: AsyncEngine) -> list[Problem]:
    """What the check finds."""
    steps = [step async for step in verify_promo(engine, message_of=messages.noun, made=events.made)]
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    return [problem for step in steps for problem in step.problems]
