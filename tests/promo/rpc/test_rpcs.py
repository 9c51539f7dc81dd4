"""Each RPC over the wire: what it answers, what it leaves, and what its repeat answers."""

from __future__ import annotations

import json

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.common.v1 import context_pb2, money_pb2
from beautymesh.promo.v1 import campaign_pb2, cart_pb2, log_pb2, price_pb2, redemption_pb2
from buf.validate import validate_pb2
from meshkit.core.errors import Kind
from meshkit.core.ids import new_id
from promo_svc.domain.counters import OFFERS_MAX
from tests.processes import Process, Stack, process
from tests.promo.clients import SCOPES, Stub, client
from tests.promo.rpc.calls import (
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
)
from tests.promo.rpc.profile_double import profile_service


def usd(minor: int) -> money_pb2.Money:
    return money_pb2.Money(minor=minor, currency="USD")


async def counts(stub: Stub, stand: Stand) -> dict[str, tuple[int, int]]:
    """Held and committed of the stand's promotions."""
    found = await stub.ListPromotions(campaign_pb2.ListPromotionsRequest(campaign_id=stand.campaign))
    return {each.promotion_id: (each.held, each.committed) for each in found.promotions}


async def test_a_cart_is_priced_to_the_cent(stub: Stub, stand: Stand) -> None:
    found = await stub.EvaluateCart(cart((stand.red, 2), (stand.blue, 1), coupon_codes=[stand.code.lower(), "nope"]))
    # 20 % of 39.98 = 8.00 (7.996); 5.00 off 31.98 + 10.00, prorated: 3.81 and 1.19
    assert [(line.subtotal.minor, line.total.minor) for line in found.lines] == [(3_998, 2_817), (1_000, 881)]
    assert [[each.amount.minor for each in line.adjustments] for line in found.lines] == [[-800, -381], [-119]]
    assert (found.totals.subtotal, found.totals.discount, found.totals.total) == (usd(4_998), usd(-1_300), usd(3_698))
    assert [(each.promotion_id, each.coupon_code, each.amount.minor) for each in found.applied_offers] == [
        (stand.percent, "", -800),
        (stand.amount, stand.code, -500),
    ]
    assert [(each.coupon_code, each.reason) for each in found.rejected_offers] == [
        ("nope", cart_pb2.REJECTION_REASON_UNKNOWN_COUPON)
    ]
    assert {line.price_source for line in found.lines} == {cart_pb2.PRICE_SOURCE_LIST}


async def test_the_channels_own_price_and_the_later_one_go_first(stub: Stub, stand: Stand) -> None:
    past, later, future = Timestamp(seconds=1_000), Timestamp(seconds=2_000), Timestamp(seconds=10**10)
    for minor, channel, valid_from in (
        (900, "", past), (800, "", later), (700, "", future), (1_200, "app", past), (1_300, "app", None),
    ):  # fmt: skip
        await stub.BatchUpsertPrices(prices(stand.blue, minor, channel=channel, valid_from=valid_from))
    seen = [(await stub.EvaluateCart(cart((stand.blue, 1), channel=name))).totals.total.minor for name in ("", "app")]
    assert seen == [800, 1_200]


async def test_every_sku_without_a_price_is_named(stub: Stub, stand: Stand) -> None:
    refused = await refusal(stub, cart(("NONE-2", 1), (stand.red, 1), ("NONE-1", 1), ("NONE-2", 2)))
    assert (refused.kind, refused.reason) == (Kind.REFUSED, "NO_PRICE")
    assert (refused.metadata["count"], refused.metadata["skus"]) == ("2", '["NONE-1","NONE-2"]')
    assert (await refusal(stub, cart((stand.red, 1), currency="EUR"))).metadata["currency"] == "EUR"


async def test_a_price_of_the_callers_own_needs_its_scope_and_is_marked(
    stack: Stack, service: Process, stub: Stub, stand: Stand
) -> None:
    request = cart((stand.blue, 2))
    request.lines[0].unit_price.CopyFrom(usd(50))
    refused = await refusal(stub, request)
    assert (refused.kind, refused.metadata["scopes"]) == (Kind.FORBIDDEN, "promo.price.override")
    token = stack.token(scopes=SCOPES | {"promo.price.override"})
    async with client(stack, service.target, token=token) as allowed:
        (line,) = (await allowed.EvaluateCart(request)).lines
        assert (line.total.minor, line.price_source) == (100, cart_pb2.PRICE_SOURCE_OVERRIDE)
        request.lines[0].unit_price.currency = "EUR"
        refused = await refusal(allowed, request)
        assert (refused.reason, refused.violations[0].field) == ("CURRENCY_MISMATCH", "lines[0].unit_price.currency")
        request.lines[0].unit_price.CopyFrom(usd(-1))
        assert (await refusal(allowed, request)).violations[0].field == "lines[0].unit_price.minor"
        request.lines[0].unit_price.CopyFrom(usd(10**15))
        assert (await refusal(allowed, request)).violations[0].field == "lines[0].quantity"


async def test_a_redemption_lives_from_hold_to_reversal(stub: Stub, stand: Stand) -> None:
    made = await stub.HoldRedemption(hold((stand.percent, ""), (stand.amount, stand.code.lower()), profile_id="ann"))
    assert await counts(stub, stand) == {stand.percent: (1, 0), stand.amount: (1, 0)}
    found = (await stub.GetRedemption(redemption_pb2.GetRedemptionRequest(redemption_id=made.redemption_id))).redemption
    assert (found.state, found.profile_id) == (redemption_pb2.REDEMPTION_STATE_HELD, "ann")
    assert [(each.promotion_id, each.coupon_code) for each in found.offers] == [
        (stand.percent, ""), (stand.amount, stand.code),
    ]  # fmt: skip
    assert found.expire_time.ToNanoseconds() - found.create_time.ToNanoseconds() == 900 * 10**9
    committing = commit(made.redemption_id)
    done = await stub.CommitRedemption(committing)
    assert await stub.CommitRedemption(committing) == done
    assert await counts(stub, stand) == {stand.percent: (0, 1), stand.amount: (0, 1)}
    assert (await refusal(stub, release(made.redemption_id))).reason == "WRONG_STATE"
    first = await stub.ReverseRedemption(reverse(made.redemption_id))
    again = await stub.ReverseRedemption(reverse(made.redemption_id))
    assert (first.redemption_id, again.redemption_id) == (made.redemption_id, made.redemption_id)
    assert await counts(stub, stand) == {stand.percent: (0, 0), stand.amount: (0, 0)}


async def test_a_limit_that_is_used_up_is_told_to_carts_and_refused_to_holds(stub: Stub, stand: Stand) -> None:
    made = [await stub.HoldRedemption(hold((stand.percent, ""))) for _ in range(2)]
    refused = await refusal(stub, hold((stand.percent, "")))
    used_up = {"promotion_id": stand.percent, "coupon_code": "", "limit": "total"}
    assert (refused.reason, json.loads(refused.metadata["offers"])) == ("LIMIT_REACHED", [used_up])
    found = await stub.EvaluateCart(cart((stand.red, 1)))
    assert found.totals.total == usd(1_999)
    assert [(each.promotion_id, each.reason) for each in found.rejected_offers] == [
        (stand.percent, cart_pb2.REJECTION_REASON_LIMIT_REACHED)
    ]
    assert list((await stub.EvaluateCart(cart((stand.blue, 1)))).rejected_offers) == []
    await stub.ReleaseRedemption(release(made[0].redemption_id))
    assert (await stub.EvaluateCart(cart((stand.red, 1)))).totals.total == usd(1_599)


async def test_an_excluded_offer_is_left_out(stub: Stub, stand: Stand) -> None:
    found = await stub.EvaluateCart(
        cart((stand.red, 1), coupon_codes=[stand.code], excluded_promotion_ids=[stand.percent, stand.amount])
    )
    assert found.totals.total == usd(1_999)
    assert [(each.promotion_id, each.coupon_code, each.reason) for each in found.rejected_offers] == [
        (stand.amount, stand.code, cart_pb2.REJECTION_REASON_EXCLUDED)
    ]


async def test_of_two_codes_for_one_promotion_the_one_that_is_not_excluded_unlocks_it(stub: Stub, stand: Stand) -> None:
    other = f"OTHER-{new_id()}"
    await stub.CreateCoupons(
        campaign_pb2.CreateCouponsRequest(
            request_id=new_id(), campaign_id=stand.campaign, promotion_id=stand.amount, codes=[other]
        )
    )
    found = await stub.EvaluateCart(
        cart(
            (stand.red, 1),
            coupon_codes=[stand.code, other],
            excluded_promotion_ids=[stand.percent],
            excluded_coupon_codes=[stand.code.lower()],
        )
    )
    assert [(each.promotion_id, each.coupon_code) for each in found.applied_offers] == [(stand.amount, other.upper())]
    assert [(each.promotion_id, each.coupon_code, each.reason) for each in found.rejected_offers] == [
        (stand.amount, stand.code, cart_pb2.REJECTION_REASON_EXCLUDED)
    ]


async def test_what_a_cart_is_priced_with_can_be_held(stub: Stub, stand: Stand) -> None:
    field = redemption_pb2.HoldRedemptionRequest.DESCRIPTOR.fields_by_name["offers"]
    assert field.GetOptions().Extensions[validate_pb2.field].repeated.max_items == OFFERS_MAX
    for number in range(OFFERS_MAX + 1):
        one_cent = {"amount_off": {"minor": 1, "currency": "USD"}}
        selector = f"line.sku == '{stand.blue}'"
        await stub.CreatePromotion(promotion(stand, f"{stand.campaign}-{number}", benefit=one_cent, selector=selector))
    found = await stub.EvaluateCart(cart((stand.blue, 1)))
    assert (len(found.applied_offers), found.totals.discount) == (OFFERS_MAX, usd(-OFFERS_MAX))
    used = [(each.promotion_id, each.coupon_code) for each in found.applied_offers]
    made = await stub.HoldRedemption(hold(*used, profile_id="ann"))
    await stub.CommitRedemption(commit(made.redemption_id))
    ended = campaign_pb2.EndCampaignRequest(request_id=new_id(), campaign_id=stand.campaign)
    await stub.EndCampaign(ended)


async def test_spaces_around_a_code_do_not_count(stub: Stub, stand: Stand) -> None:
    padded = f" {stand.code.lower()}\u00a0"
    found = await stub.EvaluateCart(cart((stand.red, 1), coupon_codes=[padded, stand.code]))
    assert [each.coupon_code for each in found.applied_offers if each.coupon_code] == [stand.code]
    assert list(found.rejected_offers) == []
    found = await stub.EvaluateCart(cart((stand.red, 1), coupon_codes=[padded], excluded_coupon_codes=[padded]))
    assert [(each.coupon_code, each.reason) for each in found.rejected_offers] == [
        (padded, cart_pb2.REJECTION_REASON_EXCLUDED)
    ]
    await stub.HoldRedemption(hold((stand.amount, padded)))


async def test_an_ended_campaign_gives_nothing_any_more(stub: Stub, stand: Stand) -> None:
    made = await stub.HoldRedemption(hold((stand.percent, "")))
    ended = await stub.EndCampaign(campaign_pb2.EndCampaignRequest(request_id=new_id(), campaign_id=stand.campaign))
    found = await stub.EvaluateCart(cart((stand.red, 1), coupon_codes=[stand.code], min_revision=ended.revision))
    assert found.totals.total == usd(1_999)
    assert [each.reason for each in found.rejected_offers] == [cart_pb2.REJECTION_REASON_UNKNOWN_COUPON]
    refused = await refusal(stub, hold((stand.percent, "")))
    assert (refused.reason, json.loads(refused.metadata["offers"])) == (
        "NOT_RUNNING", [{"promotion_id": stand.percent}],
    )  # fmt: skip
    await stub.CommitRedemption(commit(made.redemption_id))
    again = campaign_pb2.EndCampaignRequest(request_id=new_id(), campaign_id=stand.campaign)
    assert (await refusal(stub, again)).reason == "CAMPAIGN_ENDED"


async def test_a_hold_that_lapses_counts_no_more_to_the_instant(stub: Stub, stand: Stand) -> None:
    made = await stub.HoldRedemption(hold((stand.percent, ""), ttl=Duration(seconds=1)))
    while True:
        found = await stub.GetRedemption(redemption_pb2.GetRedemptionRequest(redemption_id=made.redemption_id))
        if found.redemption.state == redemption_pb2.REDEMPTION_STATE_EXPIRED:
            break
    assert await counts(stub, stand) == {stand.percent: (0, 0), stand.amount: (0, 0)}
    assert (await refusal(stub, commit(made.redemption_id))).reason == "REDEMPTION_EXPIRED"


async def test_in_a_saga_what_never_happened_can_be_undone_and_is_barred(
    stack: Stack, service: Process, stand: Stand
) -> None:
    saga_id, redemption_id = new_id(), new_id()

    def context(fence: int) -> context_pb2.CommandContext:
        return context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id=saga_id, fence=fence))

    async with client(stack, service.target, token=stack.service_token()) as edge:
        await edge.ReverseRedemption(reverse(redemption_id, context=context(2)))
        await edge.ReleaseRedemption(release(redemption_id, context=context(2)))
        late = hold((stand.percent, ""), redemption_id=redemption_id, context=context(1))
        assert (await refusal(edge, late)).reason == "STALE_FENCE"
        assert (await refusal(edge, release(redemption_id))).reason == "UNKNOWN_REDEMPTION"


async def test_chosen_ids_and_codes_are_taken_once(stub: Stub, stand: Stand) -> None:
    assert (await refusal(stub, campaign(stand))).reason == "ID_TAKEN"
    assert (await refusal(stub, promotion(stand, stand.percent))).reason == "ID_TAKEN"
    refused = await refusal(stub, coupons(stand, "new", stand.code.title()))
    assert (refused.reason, refused.metadata["codes"]) == ("CODE_TAKEN", stand.code)
    made = await stub.CreatePromotion(promotion(stand, "", limit={"total": 5, "per_profile": 1}, condition="false"))
    assert len(made.promotion.promotion_id) == 36
    assert (made.promotion.limit.total, made.promotion.limit.per_profile) == (5, 1)


async def test_the_repeat_of_a_request_is_answered_alike_and_another_body_is_refused(stub: Stub, stand: Stand) -> None:
    request = campaign(stand, campaign_id="")
    first = await stub.CreateCampaign(request)
    assert await stub.CreateCampaign(request) == first
    request.name = "Other"
    refused = await refusal(stub, request)
    assert (refused.reason, refused.metadata["field"]) == ("REQUEST_ID_REUSED", "name")


async def test_prices_are_counted_and_unchanged_ones_write_nothing(stub: Stub, stand: Stand) -> None:
    first = await stub.BatchUpsertPrices(prices(stand.red, 1_999))
    assert (first.created, first.updated, first.unchanged) == (0, 0, 1)
    second = await stub.BatchUpsertPrices(prices(stand.red, 2_000))
    assert (second.created, second.updated, second.unchanged) == (0, 1, 0)
    assert second.revision > first.revision
    events = (await stub.ListPromoEvents(log_pb2.ListPromoEventsRequest(sku=stand.red))).events
    assert [(each.kind, each.payload["priceMinor"]) for each in events] == [
        ("price_set", "1999"), ("price_set", "2000"),
    ]  # fmt: skip
    assert events[1].revision == second.revision


async def test_a_token_for_certain_channels_sees_prices_of_those_only_in_the_log(
    stack: Stack, service: Process, stub: Stub, stand: Stand
) -> None:
    for minor, channel in ((111, "wholesale"), (222, "app"), (333, "")):
        await stub.BatchUpsertPrices(prices(stand.blue, minor, channel=channel))
    request = log_pb2.ListPromoEventsRequest(sku=stand.blue, page_size=2)
    async with client(stack, service.target, token=stack.token(channels=frozenset({"app", "web"}))) as app:
        page = await app.ListPromoEvents(request)
        assert [each.payload["priceMinor"] for each in page.events] == ["1000", "222"]
        request.page_token = page.next_page_token
        page = await app.ListPromoEvents(request)
        assert ([each.payload["priceMinor"] for each in page.events], page.next_page_token) == (["333"], "")
        for other in (
            log_pb2.ListPromoEventsRequest(),
            log_pb2.ListPromoEventsRequest(promotion_id=stand.amount),
            log_pb2.ListPromoEventsRequest(sku=stand.blue, promotion_id=stand.amount),
        ):
            assert (await refusal(app, other)).reason == "OUTSIDE_GRANT"


async def test_lists_page_and_filter(stub: Stub, stand: Stand) -> None:
    await stub.CreateCoupons(coupons(stand, *[f"{stand.code}-{number}" for number in range(5)]))
    codes: list[str] = []
    request = campaign_pb2.ListCouponsRequest(campaign_id=stand.campaign, code_prefix=f"{stand.code}-", page_size=2)
    while True:
        page = await stub.ListCoupons(request)
        codes += [each.code for each in page.coupons]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert codes == [f"{stand.code}-{number}" for number in range(5)]
    listing = campaign_pb2.ListPromotionsRequest(campaign_id=stand.campaign, page_size=1)
    first = await stub.ListPromotions(listing)
    listing.page_token = first.next_page_token
    second = await stub.ListPromotions(listing)
    assert [each.promotion_id for page in (first, second) for each in page.promotions] == [stand.percent, stand.amount]
    assert second.next_page_token == ""
    for minor, channel in ((1, "app"), (2, "web")):
        await stub.BatchUpsertPrices(prices(stand.red, minor, channel=channel))
    rows = price_pb2.ListPricesRequest(skus=[stand.red, stand.blue], channel="app", page_size=2)
    page_one = await stub.ListPrices(rows)
    rows.page_token = page_one.next_page_token
    page_two = await stub.ListPrices(rows)
    assert [(each.sku, each.channel) for page in (page_one, page_two) for each in page.prices] == [
        (stand.blue, ""), (stand.red, ""), (stand.red, "app"),
    ]  # fmt: skip
    got = await stub.GetCampaign(campaign_pb2.GetCampaignRequest(campaign_id=stand.campaign))
    assert [each.promotion_id for each in got.promotions] == [stand.percent, stand.amount]


async def test_promotions_are_listed_by_id_prefix_and_by_whether_they_need_a_coupon(stub: Stub, stand: Stand) -> None:
    async def listed(*, needs_coupon: bool | None = None, promotion_id_prefix: str = "") -> list[str]:
        request = campaign_pb2.ListPromotionsRequest(
            campaign_id=stand.campaign, needs_coupon=needs_coupon, promotion_id_prefix=promotion_id_prefix
        )
        return [each.promotion_id for each in (await stub.ListPromotions(request)).promotions]

    both = await listed()
    assert both == [stand.percent, stand.amount]
    assert await listed(needs_coupon=True) == [stand.amount]
    assert await listed(needs_coupon=False) == [stand.percent]
    assert await listed(promotion_id_prefix=stand.percent) == [stand.percent]
    assert await listed(promotion_id_prefix=stand.percent, needs_coupon=True) == []
    assert await listed(promotion_id_prefix="%") == []  # it is no pattern
    unknown = campaign_pb2.ListPromotionsRequest(campaign_id="none", needs_coupon=True)
    assert (await refusal(stub, unknown)).reason == "UNKNOWN_CAMPAIGN"


async def test_campaigns_are_listed_by_when_they_run(stub: Stub, stand: Stand) -> None:
    moment = Timestamp(seconds=5_000)
    await stub.CreateCampaign(
        campaign(stand, campaign_id=f"{stand.campaign}-old", start_time=Timestamp(seconds=4_000), end_time=moment)
    )
    before = Timestamp(seconds=4_999, nanos=999_999_000)
    for when, expected in ((before, [f"{stand.campaign}-old"]), (moment, [])):
        found = await stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(active_time=when, page_size=1_000))
        assert [each.campaign_id for each in found.campaigns if each.campaign_id.startswith(stand.campaign)] == expected


async def test_redemptions_are_listed_to_their_own_client_and_to_staff(
    stack: Stack, service: Process, stub: Stub, stand: Stand
) -> None:
    made = [(await stub.HoldRedemption(hold((stand.amount, stand.code), profile_id=f"ann-{stand.code}"))).redemption_id
            for _ in range(2)]  # fmt: skip
    await stub.CommitRedemption(commit(made[0]))
    wanted = redemption_pb2.ListRedemptionsRequest(promotion_id=stand.amount)
    staff = stack.token(client="client:staff", scopes=SCOPES | {"promo.operate"})
    async with (
        client(stack, service.target, token=stack.token(client="client:other")) as other,
        client(stack, service.target, token=staff) as operator,
    ):
        for reader, expected in ((stub, sorted(made)), (other, []), (operator, sorted(made))):
            assert [each.redemption_id for each in (await reader.ListRedemptions(wanted)).redemptions] == expected
        assert (await refusal(other, release(made[1]))).reason == "UNKNOWN_REDEMPTION"
        await operator.ReleaseRedemption(release(made[1]))
    for state, expected in (
        (redemption_pb2.REDEMPTION_STATE_COMMITTED, [made[0]]),
        (redemption_pb2.REDEMPTION_STATE_RELEASED, [made[1]]),
        (redemption_pb2.REDEMPTION_STATE_HELD, []),
    ):
        of_state = redemption_pb2.ListRedemptionsRequest(profile_id=f"ann-{stand.code}", state=state)
        assert [each.redemption_id for each in (await stub.ListRedemptions(of_state)).redemptions] == expected


async def test_the_log_tells_what_became_of_a_promotion(stub: Stub, stand: Stand) -> None:
    made = await stub.HoldRedemption(hold((stand.amount, stand.code)))
    await stub.CommitRedemption(commit(made.redemption_id))
    request = log_pb2.ListPromoEventsRequest(promotion_id=stand.amount, page_size=3)
    first = await stub.ListPromoEvents(request)
    request.page_token = first.next_page_token
    second = await stub.ListPromoEvents(request)
    assert [(each.kind, list(each.key)) for page in (first, second) for each in page.events] == [
        ("promotion_created", ["promotion", stand.amount]),
        ("coupon_created", ["coupon", stand.amount, stand.code]),
        ("redemption_held", ["counter", stand.amount, "", ""]),
        ("redemption_held", ["counter", stand.amount, stand.code, ""]),
        ("redemption_committed", ["counter", stand.amount, "", ""]),
        ("redemption_committed", ["counter", stand.amount, stand.code, ""]),
    ]
    payload = MessageToDict(second.events[1].payload)
    assert (payload["redemptionId"], payload["orderReference"]) == (made.redemption_id, "order-1")


async def test_the_log_proves_the_counters(stub: Stub, stand: Stand) -> None:
    await stub.HoldRedemption(hold((stand.percent, "")))
    steps = [step async for step in stub.VerifyPromo(log_pb2.VerifyPromoRequest(), timeout=30)]
    assert steps[-1].done
    assert [problem for step in steps for problem in step.problems] == []


async def test_a_cart_that_asks_for_the_profile_asks_the_profile_service_on_promos_own_authority(
    stack: Stack, stub: Stub, stand: Stand
) -> None:
    await stub.CreatePromotion(
        promotion(stand, f"gold-{stand.code}", condition=f"'gold' in profile.tags && '{stand.blue}' in cart.skus")
    )
    assert (await stub.EvaluateCart(cart((stand.blue, 1)))).totals.total == usd(1_000)  # a guest is nobody
    refused = await refusal(stub, cart((stand.blue, 1), profile_id="gold-ann"))
    assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "UNAVAILABLE")
    async with profile_service(stack.keys) as (target, double):
        with process(stack, profile_targets=target) as asking:
            async with client(stack, asking.target) as shop:
                totals = [
                    (await shop.EvaluateCart(cart((stand.blue, 1), profile_id=name))).totals.total.minor
                    for name in ("gold-ann", "ben")
                ]
                assert totals == [800, 1_000]
                assert double.callers == [("service:promo", "gold-ann"), ("service:promo", "ben")]
    ended = campaign_pb2.EndCampaignRequest(request_id=new_id(), campaign_id=stand.campaign)
    await stub.EndCampaign(ended)  # nobody else's cart shall ask
