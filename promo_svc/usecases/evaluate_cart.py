"""What a cart costs now, and which offers it gets. Reads only: the hold decides under the lock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.errors import FieldViolation, InvalidRequest, listed
from meshkit.core.money import Money
from promo_svc.domain.campaigns import Coupon, Promotion, capitals
from promo_svc.domain.counters import CounterKey, Counters, Offer, keys_of
from promo_svc.domain.evaluate import (
    GUEST,
    Candidate,
    Evaluation,
    Line,
    ProfileFacts,
    Reason,
    Rejected,
    Source,
    evaluate,
    require_bounded,
)
from promo_svc.errors import CurrencyMismatch, NoPrice
from promo_svc.store.pricing import (
    PROMOTIONS_MAX,
    Prices,
    RunningOffers,
    read_counters,
    read_coupons,
    read_offers,
    read_prices,
)

_log = structlog.get_logger(__name__)


class WantedLine(NamedTuple):
    """One line as the caller asks for it, with a price of the caller's own or none."""

    sku: str
    quantity: int
    unit_price: Money | None = None


@dataclass(frozen=True, slots=True)
class Cart:
    """What is to be priced. `coupon_codes` are as the caller wrote them, the excluded ones in capitals.

    `profile_id` is empty for a guest.
    """

    lines: tuple[WantedLine, ...]
    channel: str
    currency: str
    coupon_codes: tuple[str, ...] = ()
    profile_id: str = ""
    placement: str = ""
    experiments: tuple[tuple[str, str], ...] = ()
    excluded_promotion_ids: frozenset[str] = frozenset()
    excluded_coupon_codes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PricedCart:
    """The answer, and the time and revision at which it was looked up."""

    lines: tuple[Line, ...]
    currency: str
    evaluation: Evaluation
    evaluate_time: datetime
    revision: int


class CartRules(Protocol):
    """Compiled conditions and selectors on the facts of one cart."""

    def holds(self, condition: str) -> bool:
        """Whether the condition holds; an empty one does."""
        ...

    def selects(self, selector: str, index: int) -> bool:
        """Whether the selector takes the line; an empty one does."""
        ...


class Rules(Protocol):
    """The engine of conditions and selectors."""

    def mentions_profile(self, promotion: Promotion) -> bool:
        """Whether its condition or selector can tell one person from another."""
        ...

    def of_cart(self, cart: Cart, lines: Sequence[Line], profile: ProfileFacts) -> CartRules:
        """Binds the facts of a cart."""
        ...


class _Unlocked(NamedTuple):
    """A promotion that may apply; the coupon and the code that unlocked it, if it needs one."""

    promotion: Promotion
    coupon: Coupon | None = None
    code: str = ""


class EvaluateCart:
    """Prices carts. Keeps the definitions of running promotions as long as nobody changes one."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        clock: Clock,
        rules: Rules,
        profile_facts: Callable[[str], Awaitable[ProfileFacts]],
    ) -> None:
        """`profile_facts` asks the profile service; only where a promotion wants to know."""
        self._engine = engine
        self._clock = clock
        self._rules = rules
        self._profile_facts = profile_facts
        self._offers = RunningOffers(-1, {})

    async def __call__(self, cart: Cart) -> PricedCart:
        """Prices and offers of the cart at one time.

        Raises:
            NoPrice: naming every SKU without one.
            CurrencyMismatch, InvalidRequest: a price of the caller's own is wrong, or the cart costs too much.
            Unavailable: the database, or the profile service where a promotion needs it.
        """
        _require_own_prices(cart)
        prices = await read_prices(
            self._engine,
            {line.sku for line in cart.lines},
            channel=cart.channel,
            currency=cart.currency,
            now=self._clock.now(),
        )
        lines = _priced(cart, prices)
        require_bounded(lines)
        offers = await self._running(prices)
        coupons = await read_coupons(self._engine, sorted({capitals(code) for code in cart.coupon_codes}))
        unlocked, rejected = _unlocked(cart, offers, coupons, prices.now)
        counters = await self._counters(unlocked, cart.profile_id, prices.now)
        profile = GUEST
        if cart.profile_id and any(self._rules.mentions_profile(each.promotion) for each in unlocked):
            profile = await self._profile_facts(cart.profile_id)
        rules = self._rules.of_cart(cart, lines, profile)
        candidates = [
            Candidate(
                promotion=promotion,
                coupon=coupon,
                code=code,
                holds=partial(rules.holds, promotion.condition),
                selects=partial(rules.selects, promotion.selector),
            )
            for promotion, coupon, code in unlocked
        ]
        found = evaluate(lines, candidates, counters, currency=cart.currency, profile_id=cart.profile_id)
        found.rejected[:0] = rejected
        return PricedCart(lines, cart.currency, found, prices.now, prices.revision)

    async def _running(self, prices: Prices) -> RunningOffers:
        """The promotions of campaigns that have not ended, as of the revision at which the prices were read, or later.

        Read again only after somebody has changed a campaign or promotion.
        """
        if self._offers.revision != prices.offers_revision:
            offers = await read_offers(self._engine, now=prices.now)
            if len(offers.offers) > PROMOTIONS_MAX:
                _log.error("evaluate.too_many_promotions", promotions_max=PROMOTIONS_MAX)
            if offers.revision >= self._offers.revision:  # another cart may have read a later one meanwhile
                self._offers = offers
            return offers
        return self._offers

    async def _counters(self, unlocked: Sequence[_Unlocked], profile_id: str, now: datetime) -> Counters:
        """The counters that a limit looks at; none is read where there is no limit."""
        keys: set[CounterKey] = set()
        for promotion, coupon, _ in unlocked:
            if any(promotion.limit) or (coupon and any(coupon.limit)):
                keys.update(keys_of(Offer(promotion.promotion_id, coupon.code if coupon else ""), profile_id))
        return await read_counters(self._engine, sorted(keys), now=now)


def _require_own_prices(cart: Cart) -> None:
    """Refuses prices of the caller's own that no cart can have."""
    foreign = []
    for index, line in enumerate(cart.lines):
        if line.unit_price is None:
            continue
        if line.unit_price.minor < 0:
            raise InvalidRequest.of(f"lines[{index}].unit_price.minor", "must not be negative")
        if line.unit_price.currency != cart.currency:
            said = f"is {line.unit_price.currency}, the cart's is {cart.currency}"
            foreign.append(FieldViolation(f"lines[{index}].unit_price.currency", said))
    if foreign:
        message = f"{foreign[0].field}: {foreign[0].description}"
        raise CurrencyMismatch(message, metadata={"currency": cart.currency}, violations=tuple(foreign))


def _priced(cart: Cart, prices: Prices) -> tuple[Line, ...]:
    missing = {line.sku for line in cart.lines if line.unit_price is None and line.sku not in prices.found}
    if missing:
        skus = sorted(missing)
        message = f"{skus[0]} has no price in {cart.currency} in the channel {cart.channel} now"
        if len(skus) > 1:
            message += f" (and {len(skus) - 1} more SKUs)"
        metadata = {"count": str(len(skus)), "channel": cart.channel, "currency": cart.currency, "skus": listed(skus)}
        raise NoPrice(message, metadata=metadata)
    lines = []
    for line in cart.lines:
        price = prices.found.get(line.sku)
        included = price is not None and price.tax_included
        if line.unit_price is not None:
            lines.append(Line(line.sku, line.quantity, line.unit_price.minor, Source.OVERRIDE, included))
        elif price is not None:
            lines.append(Line(line.sku, line.quantity, price.price_minor, Source.LIST, included))
    return tuple(lines)


def _unlocked(
    cart: Cart, offers: RunningOffers, coupons: dict[str, Coupon], now: datetime
) -> tuple[list[_Unlocked], list[Rejected]]:
    """The promotions that may apply, those by coupon in the order of the codes; and the codes that unlock nothing."""
    running = {key: promotion for key, (promotion, campaign) in offers.offers.items() if campaign.runs(now)}
    unlocked = [
        _Unlocked(promotion)
        for promotion in running.values()
        if not promotion.needs_coupon and promotion.promotion_id not in cart.excluded_promotion_ids
    ]
    rejected: list[Rejected] = []
    seen: set[str] = set()
    for code in cart.coupon_codes:
        if capitals(code) in seen:
            continue
        seen.add(capitals(code))
        coupon = coupons.get(capitals(code))
        found = running.get(coupon.promotion_id) if coupon else None
        if found is None:
            rejected.append(Rejected("", code, "", Reason.UNKNOWN_COUPON))
        elif found.promotion_id in cart.excluded_promotion_ids or capitals(code) in cart.excluded_coupon_codes:
            rejected.append(Rejected(found.promotion_id, code, found.name, Reason.EXCLUDED))
        else:
            unlocked.append(_Unlocked(found, coupon, code))
    return unlocked, rejected
