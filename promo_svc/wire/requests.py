"""What callers ask for, as domain commands. Bounds are checked already: `buf.validate` states them in the contract."""

from __future__ import annotations

from datetime import timedelta

from beautymesh.promo.v1 import campaign_pb2, price_pb2, redemption_pb2
from meshkit.core.money import Money
from meshkit.rpc.times import moment, span
from promo_svc.domain.campaigns import (
    AmountOff,
    Benefit,
    CreateCampaign,
    CreateCoupons,
    CreatePromotion,
    EndCampaign,
    Limit,
    PercentOff,
    Promotion,
    capitals,
)
from promo_svc.domain.counters import Offer
from promo_svc.domain.prices import ALWAYS, Price, PriceKey, UpsertPrices
from promo_svc.domain.redemptions import Commit, Hold, Release, Reverse, State

HOLD_DEFAULT = timedelta(seconds=900)


def upsert_prices(request: price_pb2.BatchUpsertPricesRequest) -> UpsertPrices:
    """The command."""
    return UpsertPrices(tuple(_price(each, f"prices[{index}]") for index, each in enumerate(request.prices)))


def _price(each: price_pb2.Price, path: str) -> Price:
    valid_from = moment(each.valid_from, f"{path}.valid_from") if each.HasField("valid_from") else ALWAYS
    return Price(PriceKey(each.sku, each.channel, each.currency, valid_from), each.price_minor, each.tax_included)


def create_campaign(request: campaign_pb2.CreateCampaignRequest, new_id: str) -> CreateCampaign:
    """The command, which will make the campaign `new_id` where the caller has not chosen."""
    return CreateCampaign(
        campaign_id=request.campaign_id or new_id,
        name=request.name,
        start_time=moment(request.start_time, "start_time") if request.HasField("start_time") else None,
        end_time=moment(request.end_time, "end_time") if request.HasField("end_time") else None,
    )


def end_campaign(request: campaign_pb2.EndCampaignRequest) -> EndCampaign:
    """The command."""
    end_time = moment(request.end_time, "end_time") if request.HasField("end_time") else None
    return EndCampaign(request.campaign_id, end_time)


def create_promotion(request: campaign_pb2.CreatePromotionRequest, new_id: str) -> CreatePromotion:
    """The command, which will make the promotion `new_id` where the caller has not chosen."""
    return CreatePromotion(
        Promotion(
            promotion_id=request.promotion_id or new_id,
            campaign_id=request.campaign_id,
            name=request.name,
            benefit=_benefit(request.benefit),
            condition=request.condition,
            selector=request.selector,
            limit=_limit(request.limit),
            needs_coupon=request.needs_coupon,
            priority=request.priority,
        )
    )


def create_coupons(request: campaign_pb2.CreateCouponsRequest) -> CreateCoupons:
    """The command."""
    codes = tuple(capitals(code) for code in request.codes)
    return CreateCoupons(request.campaign_id, request.promotion_id, codes, _limit(request.limit))


def hold(request: redemption_pb2.HoldRedemptionRequest, new_id: str) -> Hold:
    """The command, which will make the redemption `new_id` where the caller has not chosen."""
    return Hold(
        redemption_id=request.redemption_id or new_id,
        offers=tuple(Offer(each.promotion_id, capitals(each.coupon_code)) for each in request.offers),
        profile_id=request.profile_id,
        ttl=span(request.ttl) if request.HasField("ttl") else HOLD_DEFAULT,
        expire_time=moment(request.expire_time, "expire_time") if request.HasField("expire_time") else None,
    )


def commit(request: redemption_pb2.CommitRedemptionRequest, *, any_client: bool) -> Commit:
    """The command."""
    return Commit(request.redemption_id, request.order_reference, any_client)


def release(request: redemption_pb2.ReleaseRedemptionRequest, *, any_client: bool) -> Release:
    """The command."""
    return Release(request.redemption_id, any_client, in_saga=request.context.HasField("saga"))


def reverse(request: redemption_pb2.ReverseRedemptionRequest, *, any_client: bool) -> Reverse:
    """The command."""
    return Reverse(request.redemption_id, any_client, in_saga=request.context.HasField("saga"))


def state(value: redemption_pb2.RedemptionState.ValueType) -> str:
    """The state as it is stored; empty for any."""
    name = redemption_pb2.RedemptionState.Name(value).removeprefix("REDEMPTION_STATE_")
    return "" if name == "UNSPECIFIED" else State[name].value


def _benefit(benefit: campaign_pb2.Benefit) -> Benefit:
    if benefit.HasField("amount_off"):
        return AmountOff(Money(benefit.amount_off.minor, benefit.amount_off.currency))
    return PercentOff(benefit.percent_off_basis_points)


def _limit(limit: campaign_pb2.RedemptionLimit) -> Limit:
    return Limit(limit.total, limit.per_profile)
