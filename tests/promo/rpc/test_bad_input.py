"""Whatever a caller sends, the answer says what is wrong with it, and nothing happens."""
# ruff: noqa: ARG005, E501, PLW0108 — tables, one line a case, and each case a function of the same stand

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.promo.v1 import campaign_pb2, cart_pb2, log_pb2, price_pb2, redemption_pb2
from meshkit.core.errors import Kind
from meshkit.core.ids import new_id
from tests.processes import Process, Stack
from tests.promo.clients import SCOPES, Stub, client
from tests.promo.rpc.calls import (
    SERVICE,
    Stand,
    campaign,
    cart,
    commit,
    coupons,
    hold,
    prices,
    promotion,
    refusal,
    release,
    reverse,
    send,
)

INVALID: list[tuple[str, Callable[[Stand], Message], str]] = [
    # what is wrong, the request, the field that must be named
    ("a price below zero", lambda s: prices(s.red, -1), "prices[0].price_minor"),
    ("a price too high", lambda s: prices(s.red, 10**12 + 1), "prices[0].price_minor"),
    ("a currency in small letters", lambda s: prices(s.red, 1, currency="usd"), "prices[0].currency"),
    ("no SKU", lambda s: prices("", 1), "prices[0].sku"),
    ("no prices", lambda s: price_pb2.BatchUpsertPricesRequest(request_id="r"), "prices"),
    ("NUL in a SKU", lambda s: prices("a\0b", 1), "prices[0].sku"),
    ("a time after the year 9999", lambda s: prices(s.red, 1, valid_from=Timestamp(seconds=2**62)), "prices[0].valid_from"),
    ("a time before the year 1", lambda s: prices(s.red, 1, valid_from=Timestamp(seconds=-(2**62))), "prices[0].valid_from"),
    ("no request id", lambda s: campaign(s, request_id=""), "request_id"),
    ("a campaign without a name", lambda s: campaign(s, name=""), "name"),
    ("a campaign that ends before it starts", lambda s: campaign(s, campaign_id="x", start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)), "end_time"),
    ("a campaign that ended long ago", lambda s: campaign(s, campaign_id="x", end_time=Timestamp(seconds=1)), "end_time"),
    ("a benefit of nothing", lambda s: promotion(s, "x", benefit={}), "benefit.benefit"),
    ("no percent", lambda s: promotion(s, "x", benefit={"percent_off_basis_points": 0}), "benefit.percent_off_basis_points"),
    ("more than all", lambda s: promotion(s, "x", benefit={"percent_off_basis_points": 10_001}), "benefit.percent_off_basis_points"),
    ("an amount of nothing", lambda s: promotion(s, "x", benefit={"amount_off": {"minor": 0, "currency": "USD"}}), "benefit.amount_off"),
    ("an amount of no currency", lambda s: promotion(s, "x", benefit={"amount_off": {"minor": 1}}), "benefit.amount_off.currency"),
    ("a limit below zero", lambda s: promotion(s, "x", limit={"total": -1}), "limit.total"),
    ("a priority below zero", lambda s: promotion(s, "x", priority=-1), "priority"),
    ("a condition too long", lambda s: promotion(s, "x", condition="true" + " " * 4_093), "condition"),
    ("a condition that is none", lambda s: promotion(s, "x", condition="cart.nothing"), "condition"),
    ("a selector that is none", lambda s: promotion(s, "x", selector="line"), "selector"),
    ("NUL in a condition", lambda s: promotion(s, "x", condition="'\0' == ''"), "condition"),
    ("no codes", lambda s: coupons(s), "codes"),
    ("a code with a space", lambda s: coupons(s, "A", "B C"), "codes[1]"),
    ("a cart of nothing", lambda s: cart(), "lines"),
    ("a cart of too many lines", lambda s: cart(*[(s.red, 1)] * 101), "lines"),
    ("no units", lambda s: cart((s.red, 0)), "lines[0].quantity"),
    ("too many units", lambda s: cart((s.red, 10**6 + 1)), "lines[0].quantity"),
    ("too many codes", lambda s: cart((s.red, 1), coupon_codes=["a"] * 11), "coupon_codes"),
    ("a wrong currency", lambda s: cart((s.red, 1), currency="US"), "currency"),
    ("too many experiments", lambda s: cart((s.red, 1), context={"experiments": {str(n): "a" for n in range(33)}}), "context.experiments"),
    ("a hold of nothing", lambda s: hold(), "offers"),
    ("a hold of too much", lambda s: hold(*[(f"p{n}", "") for n in range(101)]), "offers"),
    ("a hold of one promotion twice", lambda s: hold((s.percent, ""), (s.percent, "")), "offers[1].promotion_id"),
    ("a hold that is too short", lambda s: hold((s.percent, ""), ttl=Duration(nanos=999_999_999)), "ttl"),
    ("a hold that is too long", lambda s: hold((s.percent, ""), ttl=Duration(seconds=86_401)), "ttl"),
    ("a hold for a mail address", lambda s: hold((s.percent, ""), profile_id="ann@example.com"), "profile_id"),
    ("a cart of a mail address", lambda s: cart((s.red, 1), profile_id="ann@example.com"), "profile_id"),
    ("redemptions of a mail address", lambda s: redemption_pb2.ListRedemptionsRequest(profile_id="ann@example.com"), "profile_id"),
    ("a hold for an id that is too long", lambda s: hold((s.percent, ""), profile_id="x" * 129), "profile_id"),
    ("two expiries", lambda s: hold((s.percent, ""), ttl=Duration(seconds=9), expire_time=Timestamp(seconds=9)), "ttl"),
    ("an expiry that is past", lambda s: hold((s.percent, ""), expire_time=Timestamp(seconds=9)), "expire_time"),
    ("an expiry too late", lambda s: hold((s.percent, ""), expire_time=Timestamp(seconds=10**10)), "expire_time"),
    ("an expiry beyond all time", lambda s: hold((s.percent, ""), expire_time=Timestamp(seconds=2**62)), "expire_time"),
    ("no order", lambda s: commit("r", order_reference=""), "order_reference"),
    ("no redemption", lambda s: release(""), "redemption_id"),
    ("a state that is none", lambda s: redemption_pb2.ListRedemptionsRequest(state=99), "state"),  # type: ignore[arg-type]  # that is the fault
    ("a page too large", lambda s: price_pb2.ListPricesRequest(page_size=1_001), "page_size"),
    ("a page token that is none", lambda s: price_pb2.ListPricesRequest(page_token="x"), "page_token"),
    ("a time that is none", lambda s: campaign_pb2.ListCampaignsRequest(active_time=Timestamp(seconds=2**62)), "active_time"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "field"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID])
async def test_the_wrong_field_is_named(stub: Stub, stand: Stand, make: Callable[[Stand], Message], field: str) -> None:
    refused = await refusal(stub, make(stand))
    assert refused.kind is Kind.INVALID, (refused.reason, refused.message)
    if field:
        assert [each.field for each in refused.violations] == [field]
    assert (await refusal(stub, cart(("x", 1)))).reason == "NO_PRICE"  # still answers


UNKNOWN: list[tuple[Callable[[Stand], Message], str]] = [
    (lambda s: campaign_pb2.GetCampaignRequest(campaign_id="none"), "UNKNOWN_CAMPAIGN"),
    (lambda s: campaign_pb2.EndCampaignRequest(request_id="r", campaign_id="none"), "UNKNOWN_CAMPAIGN"),
    (lambda s: campaign_pb2.ListPromotionsRequest(campaign_id="none"), "UNKNOWN_CAMPAIGN"),
    (lambda s: campaign_pb2.ListCouponsRequest(campaign_id="none"), "UNKNOWN_CAMPAIGN"),
    (lambda s: promotion(s, "x", campaign_id="none"), "UNKNOWN_CAMPAIGN"),
    (lambda s: coupons(s, "A", promotion_id="none"), "UNKNOWN_PROMOTION"),
    (lambda s: hold(("none", "")), "UNKNOWN_PROMOTION"),
    (lambda s: hold((s.amount, "none")), "UNKNOWN_COUPON"),
    (lambda s: hold((s.amount, "")), "UNKNOWN_COUPON"),
    (lambda s: commit("none"), "UNKNOWN_REDEMPTION"),
    (lambda s: release("none"), "UNKNOWN_REDEMPTION"),
    (lambda s: reverse("none"), "UNKNOWN_REDEMPTION"),
    (lambda s: redemption_pb2.GetRedemptionRequest(redemption_id="none"), "UNKNOWN_REDEMPTION"),
]


@pytest.mark.parametrize(("make", "reason"), UNKNOWN)
async def test_what_is_unknown_is_said_so(
    stub: Stub, stand: Stand, make: Callable[[Stand], Message], reason: str
) -> None:
    refused = await refusal(stub, make(stand))
    assert (refused.kind, refused.reason) == (Kind.NOT_FOUND, reason)


async def test_other_refusals_of_makers(stub: Stub, stand: Stand) -> None:
    twice = price_pb2.Price(sku=stand.red, currency="USD", price_minor=1)
    request = price_pb2.BatchUpsertPricesRequest(request_id=new_id(), prices=[twice, twice])
    assert (await refusal(stub, request)).reason == "DUPLICATE_LINE"
    assert (await refusal(stub, coupons(stand, "a", "A"))).reason == "DUPLICATE_LINE"
    assert (await refusal(stub, coupons(stand, "A", promotion_id=stand.percent))).reason == "WRONG_STATE"
    refused = await refusal(stub, promotion(stand, "x", condition="1 +"))
    assert (refused.reason, refused.metadata["field"], refused.metadata["column"]) == (
        "INVALID_EXPRESSION", "condition", "4",
    )  # fmt: skip


SCOPE_OF = {
    "BatchUpsertPrices": "promo.price.write", "ListPrices": "promo.read", "CreateCampaign": "promo.write",
    "EndCampaign": "promo.write", "GetCampaign": "promo.read", "ListCampaigns": "promo.read",
    "CreatePromotion": "promo.write", "ListPromotions": "promo.read", "CreateCoupons": "promo.write",
    "ListCoupons": "promo.read", "EvaluateCart": "promo.evaluate", "HoldRedemption": "promo.redeem",
    "CommitRedemption": "promo.redeem", "ReleaseRedemption": "promo.redeem", "ReverseRedemption": "promo.redeem",
    "GetRedemption": "promo.redeem", "ListRedemptions": "promo.redeem", "ListPromoEvents": "promo.read",
    "VerifyPromo": "promo.audit",
}  # fmt: skip


async def test_every_rpc_needs_its_scope(stack: Stack, service: Process) -> None:
    requests = [campaign_pb2, cart_pb2, log_pb2, price_pb2, redemption_pb2]
    assert {method.name for method in SERVICE.methods} == set(SCOPE_OF)
    for name, scope in SCOPE_OF.items():
        (made,) = [getattr(module, f"{name}Request")() for module in requests if hasattr(module, f"{name}Request")]
        async with client(stack, service.target, token=stack.token(scopes=SCOPES - {scope})) as stub:
            refused = await refusal(stub, made)
            assert (name, refused.reason, refused.metadata["scopes"]) == (name, "MISSING_SCOPE", scope)


async def test_a_token_for_other_channels_prices_no_cart(stack: Stack, service: Process, stand: Stand) -> None:
    async with client(stack, service.target, token=stack.token(channels=frozenset({"app"}))) as stub:
        for request in (cart((stand.red, 1)), prices(stand.red, 1), price_pb2.ListPricesRequest()):
            assert (await refusal(stub, request)).reason == "OUTSIDE_GRANT"
        assert (await send(stub, cart((stand.red, 1), channel="app"))).totals.subtotal.minor == 1_999
