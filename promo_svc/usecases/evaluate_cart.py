"""What a cart costs now, and which offers it gets. Reads only: the hold decides under the lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.core.clock import Clock
from meshkit.core.errors import FieldViolation, InvalidRequest, listed
from meshkit.core.money import Money
from promo_svc.domain.campaigns import Campaign, Coupon, Promotion, capitals
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
    Prices,
    RunningPromotion,
    read_counters,
    read_coupons,
    read_prices,
    read_running,
)

COMPILED_AT_ONCE: Final = 20
"""Promotions that are compiled before others get a turn: some 4 ms."""


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


class Compiled(Protocol):
    """What the engine has made of a promotion's condition and selector."""

    @property
    def personal(self) -> bool:
        """Whether it can tell one person from another."""
        ...


R = TypeVar("R", bound=Compiled)
R_contra = TypeVar("R_contra", bound=Compiled, contravariant=True)


class CartRules(Protocol[R_contra]):
    """Conditions and selectors on the facts of one cart."""

    def holds(self, rule: R_contra) -> bool:
        """Whether the condition holds; an empty one does."""
        ...

    def selects(self, rule: R_contra, index: int) -> bool:
        """Whether the selector takes the line; an empty one does."""
        ...


class Rules(Protocol[R]):
    """The engine of conditions and selectors."""

    def compile(self, promotion: Promotion) -> R:
        """Its condition and selector, ready for any number of carts."""
        ...

    def of_cart(self, cart: Cart, lines: Sequence[Line], profile: ProfileFacts) -> CartRules[R]:
        """Binds the facts of a cart."""
        ...


@dataclass(frozen=True, slots=True)
class _Unlocked(Generic[R]):
    """A promotion that may apply, compiled; the coupon and the code that unlocked it, if it needs one."""

    promotion: Promotion
    campaign: Campaign
    rule: R
    coupon: Coupon | None = None
    code: str = ""


class EvaluateCart(Generic[R]):
    """Prices carts. Keeps the promotions that need no coupon, compiled, as long as nobody changes one."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        clock: Clock,
        rules: Rules[R],
        profile_facts: Callable[[str], Awaitable[ProfileFacts]],
    ) -> None:
        """`profile_facts` asks the profile service; only where a promotion wants to know."""
        self._engine = engine
        self._clock = clock
        self._rules = rules
        self._profile_facts = profile_facts
        self._revision = -1
        self._running: dict[str, _Unlocked[R]] = {}
        self._reading = asyncio.Lock()

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
        running = await self._up_to_date(prices)
        unlocked = [
            each
            for each in running
            if each.campaign.runs(prices.now) and each.promotion.promotion_id not in cart.excluded_promotion_ids
        ]
        by_code, rejected = await self._by_code(cart, prices.now)
        profile = GUEST
        if cart.profile_id and any(each.rule.personal for each in (*unlocked, *by_code)):
            profile = await self._profile_facts(cart.profile_id)
        rules = self._rules.of_cart(cart, lines, profile)
        # Of those that nobody asked for by code only what takes a line is looked at any further: few of very many.
        unlocked = [each for each in unlocked if _takes_a_line(rules, each.rule, len(lines))] + by_code
        counters = await self._counters(unlocked, cart.profile_id, prices.now)
        candidates = [
            Candidate(
                promotion=each.promotion,
                coupon=each.coupon,
                code=each.code,
                holds=partial(rules.holds, each.rule),
                selects=partial(rules.selects, each.rule),
            )
            for each in unlocked
        ]
        found = evaluate(lines, candidates, counters, currency=cart.currency, profile_id=cart.profile_id)
        found.rejected[:0] = rejected
        return PricedCart(lines, cart.currency, found, prices.now, prices.revision)

    async def _up_to_date(self, prices: Prices) -> Collection[_Unlocked[R]]:
        """The promotions that need no coupon, as of the revision at which the prices were read, or later.

        Read again only after somebody has changed a campaign or promotion, by one cart for all that wait for it, and
        only what is new is compiled. The lock guards the reading, not what is kept: that is replaced as a whole.
        """
        if self._revision < prices.offers_revision:
            async with self._reading:
                if self._revision < prices.offers_revision:
                    found = await read_running(self._engine, now=prices.now)
                    running = await self._compiled(found.promotions)
                    self._running, self._revision = running, found.revision
        return self._running.values()

    async def _compiled(self, found: Sequence[RunningPromotion]) -> dict[str, _Unlocked[R]]:
        running: dict[str, _Unlocked[R]] = {}
        compiled = 0
        for promotion, campaign in found:
            known = self._running.get(promotion.promotion_id)
            if known is None:
                compiled += 1
                if compiled % COMPILED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            rule = known.rule if known else self._rules.compile(promotion)
            running[promotion.promotion_id] = _Unlocked(promotion, campaign, rule)
        return running

    async def _by_code(self, cart: Cart, now: datetime) -> tuple[list[_Unlocked[R]], list[Rejected]]:
        """The promotions that the cart's codes unlock, in the order of the codes; and the codes that unlock nothing."""
        coupons = await read_coupons(self._engine, sorted({capitals(code) for code in cart.coupon_codes}))
        rules: dict[str, R] = {}
        unlocked: list[_Unlocked[R]] = []
        rejected: list[Rejected] = []
        given: dict[str, str] = {}
        for code in cart.coupon_codes:
            given.setdefault(capitals(code), code)
        for stored_code, code in given.items():
            coupon, found = coupons.get(stored_code, (None, None))
            if coupon is None or found is None or not found.campaign.runs(now):
                rejected.append(Rejected("", code, "", Reason.UNKNOWN_COUPON))
                continue
            promotion, campaign = found
            if promotion.promotion_id in cart.excluded_promotion_ids or coupon.code in cart.excluded_coupon_codes:
                rejected.append(Rejected(promotion.promotion_id, code, promotion.name, Reason.EXCLUDED))
                continue
            if promotion.promotion_id not in rules:
                rules[promotion.promotion_id] = self._rules.compile(promotion)
            unlocked.append(_Unlocked(promotion, campaign, rules[promotion.promotion_id], coupon, code))
        return unlocked, rejected

    async def _counters(self, unlocked: Sequence[_Unlocked[R]], profile_id: str, now: datetime) -> Counters:
        """The counters that a limit looks at; none is read where there is no limit."""
        keys: set[CounterKey] = set()
        for each in unlocked:
            promotion, coupon = each.promotion, each.coupon
            if any(promotion.limit) or (coupon and any(coupon.limit)):
                keys.update(keys_of(Offer(promotion.promotion_id, coupon.code if coupon else ""), profile_id))
        return await read_counters(self._engine, sorted(keys), now=now)


def _takes_a_line(rules: CartRules[R], rule: R, lines: int) -> bool:
    return rules.holds(rule) and any(rules.selects(rule, index) for index in range(lines))


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
