"""A shop with goods and offers of its own on the shared mesh, and a look into every service's books."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.duration_pb2 import Duration

from beautymesh.common.v1 import money_pb2
from beautymesh.edge.v1 import checkout_pb2
from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2_grpc, reservation_pb2, stock_pb2
from beautymesh.profile.v1 import profile_pb2
from beautymesh.profile.v1 import service_pb2_grpc as profile_pb2_grpc
from beautymesh.promo.v1 import campaign_pb2, log_pb2, price_pb2, promo_pb2_grpc, redemption_pb2
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from meshkit.rpc.channel import grpc_channel
from tests.channels import reached
from tests.edge.sagas.mesh import ALL_SCOPES, Mesh, shop

if TYPE_CHECKING:
    Inventory: TypeAlias = inventory_pb2_grpc.InventoryServiceAsyncStub  # exist for type checkers only
    Promo: TypeAlias = promo_pb2_grpc.PromoServiceAsyncStub
    Profiles: TypeAlias = profile_pb2_grpc.ProfileServiceAsyncStub
else:
    Inventory = inventory_pb2_grpc.InventoryServiceStub
    Promo = promo_pb2_grpc.PromoServiceStub
    Profiles = profile_pb2_grpc.ProfileServiceStub

BERLIN: Final = "BERLIN"
PARIS: Final = "PARIS"

PRICE: Final = 1_000
"""Cents that a unit costs in these tests where nothing else is said."""

OPENING = checkout_pb2.CHECKOUT_STATE_OPENING
OPEN = checkout_pb2.CHECKOUT_STATE_OPEN
CONFIRMING = checkout_pb2.CHECKOUT_STATE_CONFIRMING
CONFIRMED = checkout_pb2.CHECKOUT_STATE_CONFIRMED
CANCELLING = checkout_pb2.CHECKOUT_STATE_CANCELLING
CANCELLED = checkout_pb2.CHECKOUT_STATE_CANCELLED
EXPIRED = checkout_pb2.CHECKOUT_STATE_EXPIRED
REFUSED = checkout_pb2.CHECKOUT_STATE_REFUSED

GONE: Final = frozenset({CANCELLED, EXPIRED, REFUSED})
GIVEN_BACK: Final = frozenset({"", "RELEASED", "EXPIRED", "REVERSED"})
"""What a reservation or redemption of a checkout that is gone may be; empty where there never was one."""


@dataclass(frozen=True, slots=True)
class Shop:
    """The services, as a member of staff and as the shop `client_id` sees them."""

    inventory: Inventory
    promo: Promo
    profiles: Profiles
    client_id: str

    async def sku(self, units: int = 100, *, price_minor: int = PRICE, paris: int = 0) -> str:
        """A new SKU with a price and stock."""
        sku = f"SKU-{new_id()}"
        await self.inventory.BatchUpsertSkus(
            catalogue_pb2.BatchUpsertSkusRequest(request_id=new_id(), skus=[catalogue_pb2.Sku(sku=sku, name=sku)])
        )
        await self.inventory.BatchUpsertLocations(
            catalogue_pb2.BatchUpsertLocationsRequest(
                request_id=new_id(),
                locations=[catalogue_pb2.Location(location=each, name=each) for each in (BERLIN, PARIS)],
            )
        )
        for location, quantity in ((BERLIN, units), (PARIS, paris)):
            if quantity:
                line = stock_pb2.StockLine(sku=sku, location=location, quantity=quantity)
                await self.inventory.ReceiveStock(stock_pb2.ReceiveStockRequest(request_id=new_id(), lines=[line]))
        price = price_pb2.Price(sku=sku, currency="USD", price_minor=price_minor)
        await self.promo.BatchUpsertPrices(price_pb2.BatchUpsertPricesRequest(request_id=new_id(), prices=[price]))
        return sku

    async def promotion(
        self, sku: str, *, basis_points: int = 2000, total: int = 0, per_profile: int = 0, coupon: bool = False
    ) -> Promotion:
        """A new promotion on this SKU alone."""
        campaign_id = new_id()
        await self.promo.CreateCampaign(
            campaign_pb2.CreateCampaignRequest(request_id=new_id(), campaign_id=campaign_id, name="test")
        )
        made = await self.promo.CreatePromotion(
            campaign_pb2.CreatePromotionRequest(
                request_id=new_id(),
                campaign_id=campaign_id,
                name="less",
                selector=f"line.sku == '{sku}'",
                benefit=campaign_pb2.Benefit(percent_off_basis_points=basis_points),
                limit=campaign_pb2.RedemptionLimit(total=total, per_profile=per_profile),
                needs_coupon=coupon,
            )
        )
        return Promotion(campaign_id, made.promotion.promotion_id)

    async def coupons(self, promotion: Promotion, *codes: str, total: int = 0) -> None:
        """Codes that unlock it, each so often."""
        await self.promo.CreateCoupons(
            campaign_pb2.CreateCouponsRequest(
                request_id=new_id(),
                campaign_id=promotion.campaign_id,
                promotion_id=promotion.promotion_id,
                codes=codes,
                limit=campaign_pb2.RedemptionLimit(total=total),
            )
        )

    async def hold(self, promotion: Promotion, *, coupon_code: str = "", profile_id: str = "") -> None:
        """Somebody else uses it once."""
        offer = redemption_pb2.RedeemedOffer(promotion_id=promotion.promotion_id, coupon_code=coupon_code)
        await self.promo.HoldRedemption(
            redemption_pb2.HoldRedemptionRequest(request_id=new_id(), offers=[offer], profile_id=profile_id)
        )

    async def end(self, promotion: Promotion) -> None:
        """Its campaign ends now."""
        await self.promo.EndCampaign(
            campaign_pb2.EndCampaignRequest(request_id=new_id(), campaign_id=promotion.campaign_id)
        )

    async def level(self, sku: str, location: str = BERLIN) -> tuple[int, int, int]:
        """Units on hand, reserved, allocated."""
        found = await self.inventory.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[sku], location=location))
        ((on_hand, reserved, allocated),) = [
            (each.counters.on_hand, each.counters.reserved, each.counters.allocated) for each in found.levels
        ]
        return on_hand, reserved, allocated

    async def uses(self, promotion: Promotion) -> tuple[int, int]:
        """Redemptions held and committed."""
        found = await self.promo.ListPromotions(campaign_pb2.ListPromotionsRequest(campaign_id=promotion.campaign_id))
        ((held, committed),) = [
            (each.held, each.committed) for each in found.promotions if each.promotion_id == promotion.promotion_id
        ]
        return held, committed

    async def purchases(self, profile_id: str) -> list[profile_pb2.Purchase]:
        """What the profile has bought."""
        try:
            found = await self.profiles.ListPurchases(
                profile_pb2.ListPurchasesRequest(profile_id=profile_id, page_size=1000)
            )
        except MeshError as unknown:
            if unknown.reason != "UNKNOWN_PROFILE":
                raise
            return []
        return list(found.purchases)

    async def reservation(self, reservation_id: str) -> str:
        """The reservation's state; empty where there is none."""
        try:
            found = await self.inventory.GetReservation(
                reservation_pb2.GetReservationRequest(reservation_id=reservation_id)
            )
        except MeshError as unknown:
            if unknown.reason != "UNKNOWN_RESERVATION":
                raise
            return ""
        return reservation_pb2.ReservationState.Name(found.reservation.state).removeprefix("RESERVATION_STATE_")

    async def redemption(self, redemption_id: str) -> str:
        """The redemption's state; empty where there is none."""
        if not redemption_id:
            return ""
        try:
            found = await self.promo.GetRedemption(redemption_pb2.GetRedemptionRequest(redemption_id=redemption_id))
        except MeshError as unknown:
            if unknown.reason != "UNKNOWN_REDEMPTION":
                raise
            return ""
        return redemption_pb2.RedemptionState.Name(found.redemption.state).removeprefix("REDEMPTION_STATE_")

    async def assert_true(self, checkout: checkout_pb2.Checkout) -> None:
        """Every service has exactly what the state of the checkout says."""
        stock = await self.reservation(checkout.reservation_id)
        offers = await self.redemption(checkout.redemption_id)
        bought = [
            each for each in (await self.purchases(checkout.profile_id) if checkout.profile_id else [])
            if each.purchase_id == checkout.checkout_id
        ]  # fmt: skip
        state = checkout_pb2.CheckoutState.Name(checkout.state).removeprefix("CHECKOUT_STATE_")
        if checkout.state in GONE:
            assert (stock in GIVEN_BACK, offers in GIVEN_BACK, bought) == (True, True, []), (state, stock, offers)
            return
        word = {OPEN: "HELD", CONFIRMED: "COMMITTED"}[checkout.state]
        assert (state, stock, offers) == (state, word, word if checkout.redemption_id else "")
        assert len(bought) == (checkout.state == CONFIRMED and bool(checkout.profile_id))
        for each in bought:
            assert (each.order_reference, each.total) == (checkout.order_reference, checkout.totals.total)
            assert [(line.sku, line.quantity, line.total) for line in each.lines] == [
                (line.sku, line.quantity, line.total) for line in checkout.lines
            ]

    async def assert_books(
        self, checkouts: Iterable[checkout_pb2.Checkout], *, skus: Iterable[str], promotions: Sequence[Promotion] = ()
    ) -> None:
        """The counters are what these checkouts add up to, each of them is true, and every log is whole."""
        checkouts = list(checkouts)
        for checkout in checkouts:
            await self.assert_true(checkout)
        reserved: Counter[tuple[str, str]] = Counter()
        allocated: Counter[tuple[str, str]] = Counter()
        held: Counter[str] = Counter()
        committed: Counter[str] = Counter()
        for checkout in checkouts:
            if checkout.state in {OPEN, CONFIRMED}:
                units, uses = (reserved, held) if checkout.state == OPEN else (allocated, committed)
                units.update({(line.sku, line.location): 0 for line in checkout.lines})
                for line in checkout.lines:
                    units[line.sku, line.location] += line.quantity
                uses.update(offer.promotion_id for offer in checkout.applied_offers)
        for sku in skus:
            found = await self.inventory.ListStockLevels(stock_pb2.ListStockLevelsRequest(skus=[sku]))
            for level in found.levels:
                key = (sku, level.location)
                assert (level.counters.reserved, level.counters.allocated) == (reserved[key], allocated[key]), key
        for promotion in promotions:
            one = promotion.promotion_id
            assert await self.uses(promotion) == (held[one], committed[one])
        await self.assert_logs_whole()

    async def assert_logs_whole(self) -> None:
        """Every service's own check of its log and counters finds nothing."""
        problems: list[object] = []
        async for stock in self.inventory.VerifyLedger(stock_pb2.VerifyLedgerRequest()):
            problems += stock.problems
        async for offers in self.promo.VerifyPromo(log_pb2.VerifyPromoRequest()):
            problems += offers.problems
        async for people in self.profiles.VerifyProfiles(profile_pb2.VerifyProfilesRequest()):
            problems += people.problems
        assert problems == []


@dataclass(frozen=True, slots=True)
class Promotion:
    """Where a promotion is found."""

    campaign_id: str
    promotion_id: str


@contextlib.asynccontextmanager
async def shopping(mesh: Mesh, client_id: str = "client:shop") -> AsyncIterator[Shop]:
    """Stubs for the services, once all are reached: one that was away is called again only after a while."""
    token = mesh.token(shop(client_id, scopes=ALL_SCOPES))
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc_channel(f"127.0.0.1:{mesh.ports[each]}", token=lambda: token))
            for each in ("inventory", "promo", "profile")
        ]
        inventory, promo, profile = await asyncio.gather(*[reached(channel) for channel in channels])
        yield Shop(
            inventory_pb2_grpc.InventoryServiceStub(inventory),
            promo_pb2_grpc.PromoServiceStub(promo),
            profile_pb2_grpc.ProfileServiceStub(profile),
            client_id,
        )


def money(minor: int) -> money_pb2.Money:
    """US dollars, in cents."""
    return money_pb2.Money(minor=minor, currency="USD")


def line(sku: str, quantity: int = 1, location: str = BERLIN, **fields: Any) -> checkout_pb2.CheckoutLine:  # noqa: ANN401 — a table's
    """A line of a cart."""
    return checkout_pb2.CheckoutLine(sku=sku, location=location, quantity=quantity, **fields)


def cart(
    *lines: checkout_pb2.CheckoutLine,
    request_id: str = "",
    profile_id: str = "",
    ttl_seconds: float = 0,
    **fields: Any,  # noqa: ANN401 — a table's
) -> checkout_pb2.CreateCheckoutRequest:
    """A request to open a checkout."""
    ttl = Duration(nanos=0)
    ttl.FromNanoseconds(round(ttl_seconds * 1e9))
    return checkout_pb2.CreateCheckoutRequest(
        request_id=request_id or new_id(),
        lines=lines,
        profile_id=profile_id,
        ttl=ttl if ttl_seconds else None,
        **fields,
    )


def confirm_of(checkout: checkout_pb2.Checkout | str, **fields: Any) -> checkout_pb2.ConfirmCheckoutRequest:  # noqa: ANN401 — a table's
    """A request to confirm a checkout, under an order of its own."""
    checkout_id = checkout if isinstance(checkout, str) else checkout.checkout_id
    defaults = {"request_id": new_id(), "checkout_id": checkout_id, "order_reference": f"order-{checkout_id[-12:]}"}
    return checkout_pb2.ConfirmCheckoutRequest(**{**defaults, **fields})


def cancel_of(checkout: checkout_pb2.Checkout | str, **fields: Any) -> checkout_pb2.CancelCheckoutRequest:  # noqa: ANN401 — a table's
    """A request to cancel a checkout."""
    checkout_id = checkout if isinstance(checkout, str) else checkout.checkout_id
    return checkout_pb2.CancelCheckoutRequest(**{"request_id": new_id(), "checkout_id": checkout_id, **fields})
