"""The RPCs that read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.promo.v1 import campaign_pb2, cart_pb2, log_pb2, price_pb2, redemption_pb2
from meshkit.core.clock import Clock
from meshkit.log.visibility import LogVisibility
from meshkit.rpc.call import Call
from meshkit.rpc.paging import page_position, page_token
from meshkit.rpc.times import from_micros, micros, moment
from promo_svc.domain.campaigns import capitals, unknown_campaign
from promo_svc.domain.prices import DEFAULT_CHANNEL, PriceKey
from promo_svc.rpc.commands import OPERATE
from promo_svc.store.queries import (
    list_campaigns,
    list_coupons,
    list_events,
    list_prices,
    list_redemptions,
    read_campaign,
)
from promo_svc.usecases.evaluate_cart import Cart, PricedCart
from promo_svc.usecases.redemption import as_of, get_redemption
from promo_svc.usecases.verify_promo import verify_promo
from promo_svc.wire import carts, events, messages, replies, requests

OVERRIDE = frozenset({"promo.price.override"})
"""The scope of a caller that brings prices of its own."""
PAGE_ROWS_DEFAULT = 100


class QueryRpcs:
    """The half of the servicer that reads."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        clock: Clock,
        visibility: LogVisibility,
        evaluate_cart: Callable[[Cart], Awaitable[PricedCart]],
        default_currency: str,
    ) -> None:
        """Reads through `engine`, which must not be a replica: revisions are the primary's."""
        self._engine = engine
        self._clock = clock
        self._visibility = visibility
        self._evaluate_cart = evaluate_cart
        self._default_currency = default_currency

    async def EvaluateCart(self, request: cart_pb2.EvaluateCartRequest, call: Call) -> cart_pb2.EvaluateCartResponse:
        """What a cart costs."""
        call.principal.require_channel(request.channel or DEFAULT_CHANNEL)
        if any(line.HasField("unit_price") for line in request.lines):
            call.principal.require_scopes(OVERRIDE)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        cart = carts.cart(request, default_currency=self._default_currency)
        return carts.evaluated(await self._evaluate_cart(cart))

    async def ListPrices(self, request: price_pb2.ListPricesRequest, call: Call) -> price_pb2.ListPricesResponse:
        """The price list by key."""
        if request.channel or call.principal.channels:
            call.principal.require_channel(request.channel)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str, str, str, int)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows, revision = await list_prices(
            self._engine,
            skus=request.skus,
            channel=request.channel,
            currency=request.currency,
            after=_price_key(*position) if position else None,
            rows_max=rows_max + 1,
        )
        last = rows[rows_max - 1].price.key if len(rows) > rows_max else None
        return price_pb2.ListPricesResponse(
            prices=[replies.price(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, (*last[:3], micros(last.valid_from))) if last else "",
            revision=revision,
        )

    async def GetCampaign(
        self, request: campaign_pb2.GetCampaignRequest, call: Call
    ) -> campaign_pb2.GetCampaignResponse:
        """One campaign with its promotions."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        found = await read_campaign(self._engine, request.campaign_id, now=self._clock.now(), by_priority=True)
        if found.campaign is None:
            raise unknown_campaign(request.campaign_id)
        return campaign_pb2.GetCampaignResponse(
            campaign=messages.campaign(found.campaign),
            promotions=[replies.promotion(row) for row in found.promotions],
            revision=found.revision,
        )

    async def ListCampaigns(
        self, request: campaign_pb2.ListCampaignsRequest, call: Call
    ) -> campaign_pb2.ListCampaignsResponse:
        """Campaigns by id."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows, revision = await list_campaigns(
            self._engine,
            active_time=moment(request.active_time, "active_time") if request.HasField("active_time") else None,
            after=position[0] if position else "",
            rows_max=rows_max + 1,
        )
        more = len(rows) > rows_max
        return campaign_pb2.ListCampaignsResponse(
            campaigns=[messages.campaign(each) for each in rows[:rows_max]],
            next_page_token=page_token(request, (rows[rows_max - 1].campaign_id,)) if more else "",
            revision=revision,
        )

    async def ListPromotions(
        self, request: campaign_pb2.ListPromotionsRequest, call: Call
    ) -> campaign_pb2.ListPromotionsResponse:
        """A campaign's promotions by id."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        found = await read_campaign(
            self._engine,
            request.campaign_id,
            now=self._clock.now(),
            by_priority=False,
            needs_coupon=request.needs_coupon if request.HasField("needs_coupon") else None,
            id_prefix=request.promotion_id_prefix,
            after=position[0] if position else "",
            rows_max=rows_max + 1,
        )
        if found.campaign is None:
            raise unknown_campaign(request.campaign_id)
        rows = found.promotions
        more = len(rows) > rows_max
        return campaign_pb2.ListPromotionsResponse(
            promotions=[replies.promotion(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, (rows[rows_max - 1].promotion.promotion_id,)) if more else "",
            revision=found.revision,
        )

    async def ListCoupons(
        self, request: campaign_pb2.ListCouponsRequest, call: Call
    ) -> campaign_pb2.ListCouponsResponse:
        """A campaign's coupon codes by code."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows, is_known, revision = await list_coupons(
            self._engine,
            request.campaign_id,
            promotion_id=request.promotion_id,
            code_prefix=capitals(request.code_prefix),
            after=position[0] if position else "",
            rows_max=rows_max + 1,
            now=self._clock.now(),
        )
        if not is_known:
            raise unknown_campaign(request.campaign_id)
        more = len(rows) > rows_max
        return campaign_pb2.ListCouponsResponse(
            coupons=[replies.coupon(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, (rows[rows_max - 1].coupon.code,)) if more else "",
            revision=revision,
        )

    async def GetRedemption(
        self, request: redemption_pb2.GetRedemptionRequest, call: Call
    ) -> redemption_pb2.GetRedemptionResponse:
        """One redemption of the caller's own."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        found, revision = await get_redemption(
            self._engine,
            self._clock,
            request.redemption_id,
            client_id=call.principal.client_id,
            any_client=OPERATE in call.principal.scopes,
        )
        return redemption_pb2.GetRedemptionResponse(redemption=messages.redemption(found), revision=revision)

    async def ListRedemptions(
        self, request: redemption_pb2.ListRedemptionsRequest, call: Call
    ) -> redemption_pb2.ListRedemptionsResponse:
        """The caller's own redemptions by id; staff's are everybody's."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, str)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        found = await list_redemptions(
            self._engine,
            client_id="" if OPERATE in call.principal.scopes else call.principal.client_id,
            promotion_id=request.promotion_id,
            profile_id=request.profile_id,
            state=requests.state(request.state),
            after=position[0] if position else "",
            rows_max=rows_max + 1,
            now=self._clock.now(),
        )
        rows = found.redemptions
        more = len(rows) > rows_max
        return redemption_pb2.ListRedemptionsResponse(
            redemptions=[messages.redemption(as_of(each, found.now)) for each in rows[:rows_max]],
            next_page_token=page_token(request, (rows[rows_max - 1].redemption_id,)) if more else "",
            revision=found.revision,
        )

    async def ListPromoEvents(
        self, request: log_pb2.ListPromoEventsRequest, call: Call
    ) -> log_pb2.ListPromoEventsResponse:
        """The log, oldest first. Who may see certain channels only must name a SKU, and sees its prices in them."""
        channels = call.principal.channels
        if channels and (request.promotion_id or not request.sku):  # what is redeemed belongs to no channel
            call.principal.require_channel("")
        await self._visibility.wait_for(request.min_revision, call.deadline)
        position = page_position(request, request.page_token, int, int)
        revision, index = position or (request.after_revision, 2**31 - 1)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        rows, head_revision = await list_events(
            self._engine,
            after=(revision, index),
            sku=request.sku,
            promotion_id=request.promotion_id,
            channels=sorted({"", *channels}) if channels else [],
            rows_max=rows_max + 1,
        )
        last = rows[rows_max - 1] if len(rows) > rows_max else None
        return log_pb2.ListPromoEventsResponse(
            events=[events.promo_event(row) for row in rows[:rows_max]],
            next_page_token=page_token(request, (last.revision, last.index)) if last else "",
            revision=head_revision,
        )

    async def VerifyPromo(
        self, request: log_pb2.VerifyPromoRequest, call: Call
    ) -> AsyncIterator[log_pb2.VerifyPromoResponse]:
        """Checks log and projections, saying what it finds as it goes."""
        del request, call
        async for step in verify_promo(self._engine, message_of=messages.noun, made=events.made):
            yield replies.verify_step(step)


def _price_key(sku: str, channel: str, currency: str, valid_from_micros: int) -> PriceKey:
    return PriceKey(sku, channel, currency, from_micros(valid_from_micros))
