"""The checkout's RPCs on the whole mesh: what each answers, that its repeat answers the same, what refusals change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.promo.v1 import cart_pb2
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from tests.edge.sagas.conftest import Running
from tests.edge.sagas.mesh import SHOP_SCOPES, EdgeStub
from tests.edge.sagas.mesh import shop as client
from tests.edge.sagas.shop import (
    BERLIN,
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    OPEN,
    PARIS,
    Shop,
    cancel_of,
    cart,
    confirm_of,
    line,
    money,
)

Checkout = checkout_pb2.Checkout


@pytest.fixture
async def stranger(running_mesh: Running) -> AsyncIterator[EdgeStub]:
    """The same edge, as another client calls it."""
    mesh, processes = running_mesh
    async with mesh.edge_client(processes["edge"].target, client("client:stranger")) as stub:
        yield stub


async def opened(
    edge: EdgeStub, *lines: checkout_pb2.CheckoutLine, ttl_seconds: float = 0, profile_id: str = ""
) -> Checkout:
    """An open checkout."""
    return (await edge.CreateCheckout(cart(*lines, ttl_seconds=ttl_seconds, profile_id=profile_id))).checkout


async def got(edge: EdgeStub, checkout: Checkout) -> Checkout:
    """The checkout as it is now."""
    return (await edge.GetCheckout(checkout_pb2.GetCheckoutRequest(checkout_id=checkout.checkout_id))).checkout


async def lapsed(shop: Shop, edge: EdgeStub, checkout: Checkout) -> Checkout:
    """The checkout once its time is over and the services have given back what it held."""
    async with asyncio.timeout(20):
        while (  # noqa: ASYNC110 — in other processes
            (await got(edge, checkout)).state != EXPIRED or await shop.reservation(checkout.reservation_id) == "HELD"
        ):
            await asyncio.sleep(0.05)
    return await got(edge, checkout)


# ── the way through ──────────────────────────────────────────────────────────


async def test_a_checkout_is_opened_with_every_price_and_sold(shop: Shop, edge: EdgeStub) -> None:
    sku, other = await shop.sku(10, paris=5), await shop.sku(10, price_minor=333)
    offer = await shop.promotion(sku, basis_points=2000)
    me = f"p-{new_id()}"
    before = datetime.now(UTC)
    asked = cart(line(sku, 3), line(other), line(sku, 2, PARIS), profile_id=me, reference="basket-1")
    made = (await edge.CreateCheckout(asked)).checkout
    assert (made.state, made.channel, made.profile_id, made.order_reference) == (OPEN, "default", me, "")
    assert [(each.sku, each.location, each.quantity) for each in made.lines] == [
        (sku, BERLIN, 3), (other, BERLIN, 1), (sku, PARIS, 2),
    ]  # fmt: skip
    assert [(each.subtotal, each.total) for each in made.lines] == [
        (money(3_000), money(2_400)), (money(333), money(333)), (money(2_000), money(1_600)),
    ]  # fmt: skip
    assert (made.totals.subtotal, made.totals.total) == (money(5_333), money(4_333))
    assert [each.promotion_id for each in made.applied_offers] == [offer.promotion_id]
    lifetime = made.expire_time.ToDatetime(tzinfo=UTC) - before
    assert timedelta(seconds=899) < lifetime < timedelta(seconds=910)
    await shop.assert_books([made], skus=[sku, other], promotions=[offer])

    sold = (await edge.ConfirmCheckout(confirm_of(made, order_reference="order-7", payment_reference="pay-7"))).checkout
    assert (sold.state, sold.order_reference, sold.payment_reference) == (CONFIRMED, "order-7", "pay-7")
    assert (sold.lines, sold.totals) == (made.lines, made.totals)
    assert await got(edge, made) == sold
    await shop.assert_books([sold], skus=[sku, other], promotions=[offer])


async def test_a_cancelled_checkout_holds_nothing(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    made = await opened(edge, line(sku, 4), profile_id=f"p-{new_id()}")
    gone = (await edge.CancelCheckout(cancel_of(made))).checkout
    assert gone.state == CANCELLED
    assert await shop.level(sku) == (10, 0, 0)
    await shop.assert_books([gone], skus=[sku], promotions=[offer])


async def test_a_guest_without_offers_buys_without_a_redemption_or_a_purchase(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    made = await opened(edge, line(sku))
    assert (made.redemption_id, made.profile_id) == ("", "")
    sold = (await edge.ConfirmCheckout(confirm_of(made))).checkout
    await shop.assert_books([sold], skus=[sku])


async def test_both_holds_share_the_expiry_of_the_checkout(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    made = await opened(edge, line(sku), ttl_seconds=3)
    gone = await lapsed(shop, edge, made)
    assert await shop.redemption(made.redemption_id) == "EXPIRED"
    await shop.assert_books([gone], skus=[sku], promotions=[offer])


# ── repeats ──────────────────────────────────────────────────────────────────


async def test_a_repeat_answers_the_same_and_does_nothing_more(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    asked = cart(line(sku, 2), profile_id=f"p-{new_id()}")
    first, second = [(await edge.CreateCheckout(asked)).checkout for _ in range(2)]
    assert second == first
    sell = confirm_of(first)
    sold, again = [(await edge.ConfirmCheckout(sell)).checkout for _ in range(2)]
    assert again == sold
    assert (await edge.CreateCheckout(asked)).checkout == sold, "a repeat answers the checkout as it is now"
    await shop.assert_books([sold], skus=[sku])


async def test_a_repeat_of_a_cancel_answers_the_same(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    drop = cancel_of(await opened(edge, line(sku)))
    first, second = [(await edge.CancelCheckout(drop)).checkout for _ in range(2)]
    assert second == first
    await shop.assert_books([first], skus=[sku])


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("lines", {"lines": [line("OTHER")]}),
        ("channel", {"channel": "store"}),
        ("currency", {"currency": "EUR"}),
        ("coupon_codes", {"coupon_codes": ["SAVE"]}),
        ("profile_id", {"profile_id": "bob"}),
        ("ttl", {"ttl": {"seconds": 7}}),
        ("reference", {"reference": "basket-2"}),
        ("context", {"context": {"placement": "home"}}),
    ],
)
async def test_another_cart_under_the_same_id_is_refused_naming_the_field(
    shop: Shop, edge: EdgeStub, field: str, changed: dict[str, object]
) -> None:
    sku = await shop.sku(10)
    asked = cart(line(sku))
    made = (await edge.CreateCheckout(asked)).checkout
    body = {"request_id": asked.request_id, "lines": list(asked.lines), **changed}
    with pytest.raises(MeshError) as refused:
        await edge.CreateCheckout(checkout_pb2.CreateCheckoutRequest(**body))  # type: ignore[arg-type]  # a table's
    assert (refused.value.reason, refused.value.metadata["field"]) == ("REQUEST_ID_REUSED", field)
    assert await got(edge, made) == made
    await shop.assert_books([made], skus=[sku])


@pytest.mark.parametrize("field", ["order_reference", "payment_reference"])
async def test_another_confirm_under_the_same_id_is_refused_naming_the_field(
    shop: Shop, edge: EdgeStub, field: str
) -> None:
    sku = await shop.sku(10)
    sell = confirm_of(await opened(edge, line(sku)))
    sold = (await edge.ConfirmCheckout(sell)).checkout
    setattr(sell, field, "another")
    with pytest.raises(MeshError) as refused:
        await edge.ConfirmCheckout(sell)
    assert (refused.value.reason, refused.value.metadata["field"]) == ("REQUEST_ID_REUSED", field)
    assert await got(edge, sold) == sold


async def test_one_id_cannot_move_two_checkouts(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    one, two = await opened(edge, line(sku)), await opened(edge, line(sku))
    sold = (await edge.ConfirmCheckout(confirm_of(one, request_id=f"r-{sku}"))).checkout
    with pytest.raises(MeshError) as refused:
        await edge.ConfirmCheckout(confirm_of(two, request_id=f"r-{sku}", order_reference=sold.order_reference))
    assert (refused.value.reason, refused.value.metadata["field"]) == ("REQUEST_ID_REUSED", "checkout_id")
    with pytest.raises(MeshError) as refused:
        await edge.CancelCheckout(cancel_of(two, request_id=f"r-{sku}"))
    assert (refused.value.reason, refused.value.metadata["field"]) == ("REQUEST_ID_REUSED", "method")
    await shop.assert_books([sold, await got(edge, two)], skus=[sku])


async def test_two_clients_may_use_one_request_id(shop: Shop, edge: EdgeStub, stranger: EdgeStub) -> None:
    sku = await shop.sku(10)
    asked = cart(line(sku))
    ours, theirs = [(await each.CreateCheckout(asked)).checkout for each in (edge, stranger)]
    assert ours.checkout_id != theirs.checkout_id
    assert await shop.level(sku) == (10, 2, 0)


# ── what is refused, and that nothing has changed ────────────────────────────


async def refused_by(work: object) -> MeshError:
    """The refusal of a call that must be refused."""
    with pytest.raises(MeshError) as refused:
        await work  # type: ignore[misc]  # a call
    return refused.value


async def test_another_clients_checkout_does_not_exist(shop: Shop, edge: EdgeStub, stranger: EdgeStub) -> None:
    sku = await shop.sku(10)
    made = await opened(edge, line(sku))
    for checkout_id in (made.checkout_id, new_id(), "no id at all"):
        get = checkout_pb2.GetCheckoutRequest(checkout_id=checkout_id)
        asks: list[Callable[[], object]] = [
            partial(stranger.GetCheckout, get),
            partial(stranger.ConfirmCheckout, confirm_of(checkout_id)),
            partial(stranger.CancelCheckout, cancel_of(checkout_id)),
        ]
        for ask in asks:
            refused = await refused_by(ask())
            assert (refused.reason, refused.message) == ("UNKNOWN_CHECKOUT", f"unknown checkout {checkout_id}")
    listed = await stranger.ListCheckouts(checkout_pb2.ListCheckoutsRequest(page_size=1000))
    assert made.checkout_id not in [each.checkout_id for each in listed.checkouts]
    assert await got(edge, made) == made
    await shop.assert_books([made], skus=[sku])


async def test_what_is_sold_can_be_neither_sold_nor_cancelled_again(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    made = await opened(edge, line(sku), profile_id=f"p-{new_id()}")
    sold = (await edge.ConfirmCheckout(confirm_of(made))).checkout
    again = confirm_of(made, order_reference="another order")
    asks: list[Callable[[], object]] = [
        partial(edge.ConfirmCheckout, again),
        partial(edge.CancelCheckout, cancel_of(made)),
    ]
    for ask in asks:
        refused = await refused_by(ask())
        assert (refused.reason, refused.metadata["state"]) == ("WRONG_STATE", "confirmed")
    assert await got(edge, made) == sold
    await shop.assert_books([sold], skus=[sku], promotions=[offer])


async def test_what_is_cancelled_cannot_be_sold_and_may_be_cancelled_again(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    made = await opened(edge, line(sku), profile_id=f"p-{new_id()}")
    gone = (await edge.CancelCheckout(cancel_of(made))).checkout
    refused = await refused_by(edge.ConfirmCheckout(confirm_of(made)))
    assert (refused.reason, refused.metadata["state"]) == ("WRONG_STATE", "cancelled")
    assert (await edge.CancelCheckout(cancel_of(made))).checkout == gone
    assert await got(edge, made) == gone
    await shop.assert_books([gone], skus=[sku])


async def test_an_expired_checkout_cannot_be_sold_and_nothing_changes(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    made = await opened(edge, line(sku, 2), ttl_seconds=3, profile_id=f"p-{new_id()}")
    gone = await lapsed(shop, edge, made)

    async def everything() -> object:
        return (
            await shop.level(sku),
            await shop.uses(offer),
            await shop.purchases(made.profile_id),
            await shop.reservation(made.reservation_id),
            await shop.redemption(made.redemption_id),
        )

    before = await everything()
    for _ in range(2):
        assert (await refused_by(edge.ConfirmCheckout(confirm_of(made)))).reason == "CHECKOUT_EXPIRED"
    assert (await edge.CancelCheckout(cancel_of(made))).checkout.state == EXPIRED
    assert await everything() == before == ((10, 0, 0), (0, 0), [], "EXPIRED", "EXPIRED")
    assert (await got(edge, made)).state == gone.state == EXPIRED


async def test_short_stock_names_every_short_line_and_holds_nothing(shop: Shop, edge: EdgeStub) -> None:
    plenty, short, none = await shop.sku(10), await shop.sku(2, paris=10), await shop.sku(0)
    offer = await shop.promotion(plenty)
    refused = await refused_by(
        edge.CreateCheckout(cart(line(plenty), line(short, 2), line(none), line(short, 1), profile_id="p-short"))
    )
    assert refused.reason == "INSUFFICIENT_STOCK"
    said = f"{refused.message} {dict(refused.metadata)} {refused.violations}"
    assert (short in said, none in said, plenty in said) == (True, True, False), said
    assert await shop.level(plenty) == (10, 0, 0)
    assert await shop.level(short) == (2, 0, 0)
    await shop.assert_books([], skus=[plenty, short], promotions=[offer])


async def test_what_was_short_is_decided_anew_under_the_same_id(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(1)
    first = await opened(edge, line(sku))
    asked = cart(line(sku))
    for _ in range(2):
        assert (await refused_by(edge.CreateCheckout(asked))).reason == "INSUFFICIENT_STOCK"
    await edge.CancelCheckout(cancel_of(first))
    made = (await edge.CreateCheckout(asked)).checkout
    await shop.assert_books([made], skus=[sku])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line("NOBODY-SELLS-THIS"), "NO_PRICE"),
        (line("", location="ATLANTIS"), "UNKNOWN_LOCATION"),
    ],
)
async def test_an_unknown_good_or_place_is_refused_by_name(
    shop: Shop, edge: EdgeStub, bad: checkout_pb2.CheckoutLine, reason: str
) -> None:
    sku = await shop.sku(10)
    asked = line(bad.sku or sku, location=bad.location)
    refused = await refused_by(edge.CreateCheckout(cart(line(sku), asked)))
    assert refused.reason == reason
    assert (bad.sku or bad.location) in f"{refused.message} {dict(refused.metadata)}"
    await shop.assert_books([], skus=[sku])


@pytest.mark.parametrize("missing", sorted(SHOP_SCOPES - {"profile.purchase.write"}))
async def test_who_lacks_a_scope_of_any_step_begins_none(shop: Shop, running_mesh: Running, missing: str) -> None:
    sku = await shop.sku(10)
    mesh, processes = running_mesh
    poor = client(scopes=SHOP_SCOPES - {missing})
    async with mesh.edge_client(processes["edge"].target, poor) as edge:
        refused = await refused_by(edge.CreateCheckout(cart(line(sku))))
    assert (refused.reason, refused.metadata["scopes"]) == ("MISSING_SCOPE", missing)
    await shop.assert_books([], skus=[sku])


async def test_a_price_of_the_callers_own_needs_its_scope(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    refused = await refused_by(edge.CreateCheckout(cart(line(sku, unit_price=money(1)))))
    assert refused.reason == "MISSING_SCOPE"
    await shop.assert_books([], skus=[sku])


# ── limits ───────────────────────────────────────────────────────────────────


async def test_of_many_at_once_as_many_get_the_offer_as_its_limit_allows_and_the_others_are_told(
    shop: Shop, edge: EdgeStub
) -> None:
    sku = await shop.sku(30)
    offer = await shop.promotion(sku, basis_points=5000, total=5)
    made = await asyncio.gather(*[opened(edge, line(sku)) for _ in range(20)])
    with_offer = [each for each in made if each.applied_offers]
    without = [each for each in made if not each.applied_offers]
    assert (len(with_offer), len(without)) == (5, 15)
    assert {each.totals.total.minor for each in with_offer} == {500}
    assert {each.totals.total.minor for each in without} == {1_000}
    told = [[(offer.promotion_id, offer.reason) for offer in each.rejected_offers] for each in without]
    assert told == [[(offer.promotion_id, cart_pb2.REJECTION_REASON_LIMIT_REACHED)]] * 15
    assert {each.redemption_id for each in without} == {""}
    sold = [(await edge.ConfirmCheckout(confirm_of(each))).checkout for each in made]
    await shop.assert_books(sold, skus=[sku], promotions=[offer])


# ── lists ────────────────────────────────────────────────────────────────────


async def test_a_list_pages_and_filters(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    me = f"p-{new_id()}"
    made = [await opened(edge, line(sku), profile_id=me) for _ in range(5)]
    sold = (await edge.ConfirmCheckout(confirm_of(made[2], order_reference=f"order-{me}"))).checkout

    async def listed(**chosen: object) -> list[Checkout]:
        found: list[Checkout] = []
        token = ""
        while True:
            asked = checkout_pb2.ListCheckoutsRequest(page_size=2, page_token=token, **chosen)  # type: ignore[arg-type]  # a table's
            page = await edge.ListCheckouts(asked)
            assert len(page.checkouts) <= 2
            found += page.checkouts
            token = page.next_page_token
            if not token:
                return found

    newest = [each.checkout_id for each in made[::-1]]
    assert [each.checkout_id for each in await listed(profile_id=me)] == newest
    assert [each.checkout_id for each in await listed(profile_id=me, state=OPEN)] == newest[:2] + newest[3:]
    assert await listed(order_reference=f"order-{me}") == [sold]
    assert await listed(profile_id=me, state=CANCELLED) == []


async def test_a_page_token_of_another_list_is_refused(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    me = f"p-{new_id()}"
    for _ in range(2):
        await opened(edge, line(sku), profile_id=me)
    page = await edge.ListCheckouts(checkout_pb2.ListCheckoutsRequest(profile_id=me, page_size=1))
    for token in (page.next_page_token, "nonsense"):
        asked = checkout_pb2.ListCheckoutsRequest(profile_id="another", page_size=1, page_token=token)
        assert (await refused_by(edge.ListCheckouts(asked))).reason == "INVALID_PAGE_TOKEN"


# ── races ────────────────────────────────────────────────────────────────────


async def test_of_twenty_confirms_and_cancels_at_once_exactly_one_kind_wins(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    for _ in range(5):
        made = await opened(edge, line(sku), profile_id=f"p-{new_id()}")
        sells = [confirm_of(made, order_reference=f"order-{number}") for number in range(10)]
        drops = [cancel_of(made) for _ in range(10)]
        answers = await asyncio.gather(
            *[edge.ConfirmCheckout(each) for each in sells],
            *[edge.CancelCheckout(each) for each in drops],
            return_exceptions=True,
        )
        now = await got(edge, made)
        confirms = [each for each in answers if isinstance(each, checkout_pb2.ConfirmCheckoutResponse)]
        cancels = [each for each in answers if isinstance(each, checkout_pb2.CancelCheckoutResponse)]
        refused = {each.reason for each in answers if isinstance(each, MeshError)}
        assert refused == {"WRONG_STATE"}
        if now.state == CONFIRMED:
            assert (len(confirms), len(cancels)) == (1, 0)
        else:
            assert (now.state, len(confirms)) == (CANCELLED, 0)
            assert len(cancels) >= 1  # cancelling what is cancelled already succeeds
        await shop.assert_true(now)
        if now.state == CONFIRMED:
            assert now.order_reference == confirms[0].checkout.order_reference
    await shop.assert_logs_whole()
    assert (await shop.level(sku))[1] == 0
    assert (await shop.uses(offer))[0] == 0


async def test_of_concurrent_creates_under_one_id_one_checkout_comes(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    offer = await shop.promotion(sku)
    asked = cart(line(sku, 3), profile_id=f"p-{new_id()}")
    answers = await asyncio.gather(*[edge.CreateCheckout(asked) for _ in range(20)])
    assert len({each.checkout.SerializeToString(deterministic=True) for each in answers}) == 1
    await shop.assert_books([answers[0].checkout], skus=[sku], promotions=[offer])


async def test_of_concurrent_confirms_under_one_id_all_answer_the_same(shop: Shop, edge: EdgeStub) -> None:
    sku = await shop.sku(10)
    sell = confirm_of(await opened(edge, line(sku), profile_id=f"p-{new_id()}"))
    answers = await asyncio.gather(*[edge.ConfirmCheckout(sell) for _ in range(20)])
    assert {each.checkout.state for each in answers} == {CONFIRMED}
    await shop.assert_books([answers[0].checkout], skus=[sku])
