"""A small catalogue of a brand that does not exist, to look around in; loading it again changes nothing.

`python -m meshctl.demo` loads it into the mesh whose ready file comes through standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from beautymesh.common.v1.money_pb2 import Money
from beautymesh.inventory.v1 import catalogue_pb2, inventory_pb2_grpc, stock_pb2
from beautymesh.inventory.v1.catalogue_pb2 import Location, Sku
from beautymesh.promo.v1 import campaign_pb2, promo_pb2_grpc
from beautymesh.promo.v1.campaign_pb2 import Benefit, RedemptionLimit
from meshctl.catalogue_file import sku_code
from meshctl.price_list import PRICE_ATTRIBUTE, prices_of, upsert_prices
from meshctl.ready import endpoint_of
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id

BRAND: Final = "Ostrelle"

LOCATIONS: Final = (
    Location(location="WH-LYON", name="Lyon Warehouse", kind=catalogue_pb2.LOCATION_KIND_WAREHOUSE),
    Location(location="ST-PARIS", name="Store Rue des Martyrs, Paris", kind=catalogue_pb2.LOCATION_KIND_STORE),
    Location(
        location="DC-ROTTERDAM",
        name="Distribution Center Rotterdam",
        kind=catalogue_pb2.LOCATION_KIND_DISTRIBUTION_CENTER,
    ),
)

STOCKED: Final = {"WH-LYON": (120, 480), "ST-PARIS": (4, 24), "DC-ROTTERDAM": (300, 1_500)}
"""Fewest and most units of one SKU at each location."""


CAMPAIGN: Final = "demo-opening"
COUPON: Final = "WELCOME10"

PROMOTIONS: Final = (
    campaign_pb2.CreatePromotionRequest(
        campaign_id=CAMPAIGN,
        promotion_id="demo-pair",
        name="20 % off a pair or more",
        condition="cart.quantity >= 2",
        benefit=Benefit(percent_off_basis_points=2_000),
        limit=RedemptionLimit(total=500),
        priority=10,
    ),
    campaign_pb2.CreatePromotionRequest(
        campaign_id=CAMPAIGN,
        promotion_id="demo-welcome",
        name="Welcome: $10 off from $50",
        condition="cart.subtotal_minor >= 5000",
        benefit=Benefit(amount_off=Money(minor=1_000, currency="USD")),
        needs_coupon=True,
        priority=20,
    ),
)

WATCH_SECONDS: Final = 5
"""How long the line that watches stock runs."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product and what its variants differ in."""

    name: str
    category: str
    attribute: str
    variants: tuple[str, ...]
    price_usd: str


_SHADES: Final = ("Porcelain 01", "Ivory 02", "Sand 03", "Honey 04", "Amber 05", "Cocoa 06", "Espresso 07", "Ebony 08")
_REDS: Final = ("Corail", "Garance", "Rose Sèche", "Bordeaux", "Nu")

PRODUCTS: Final = (
    Product("Marée Haute Foundation", "Face", "shade", _SHADES, "42.00"),
    Product("Brume Skin Tint", "Face", "shade", _SHADES[:6], "36.00"),
    Product("Second Matin Concealer", "Face", "shade", _SHADES[:6], "28.00"),
    Product("Poudre d’Écume", "Face", "shade", ("Translucent", "Peach"), "34.00"),
    Product("Couchant Blush", "Face", "shade", ("Pêche", "Figue", "Brique"), "30.00"),
    Product("Rouge Marée Lipstick", "Lips", "shade", _REDS, "26.00"),
    Product("Rouge Marée Matte", "Lips", "shade", _REDS, "28.00"),
    Product("Sel Lip Balm", "Lips", "scent", ("Plain", "Mint", "Vanilla"), "12.00"),
    Product("Laque Lip Gloss", "Lips", "shade", ("Clear", "Nacre", "Rosé"), "22.00"),
    Product("Noir de Sépia Mascara", "Eyes", "shade", ("Black", "Brown"), "27.00"),
    Product("Trait Eyeliner", "Eyes", "shade", ("Black", "Brown", "Navy"), "21.00"),
    Product("Galets Eye Palette", "Eyes", "shade", ("Warm", "Cool"), "48.00"),
    Product("Arc Brow Pencil", "Eyes", "shade", ("Blond", "Chestnut", "Dark"), "20.00"),
    Product("Eau Calme Cleanser", "Cleanser", "size", ("100 ml", "200 ml", "400 ml"), "24.00"),
    Product("Huile Claire Cleansing Oil", "Cleanser", "size", ("50 ml", "150 ml"), "32.00"),
    Product("Embruns Toner", "Cleanser", "size", ("100 ml", "200 ml"), "26.00"),
    Product("Algue Bleue Serum", "Treatment", "size", ("15 ml", "30 ml", "50 ml"), "58.00"),
    Product("Vitamine C Dix Serum", "Treatment", "size", ("15 ml", "30 ml"), "64.00"),
    Product("Nuit Profonde Retinal", "Treatment", "size", ("30 ml",), "72.00"),
    Product("Crème du Large", "Moisturizer", "size", ("15 ml", "50 ml", "100 ml"), "46.00"),
    Product("Gel du Large", "Moisturizer", "size", ("50 ml", "100 ml"), "44.00"),
    Product("Contour Eye Cream", "Eye cream", "size", ("15 ml",), "49.00"),
    Product("Plein Soleil SPF 50", "Sun protect", "size", ("40 ml", "75 ml", "200 ml"), "33.00"),
    Product("Sable Body Lotion", "Body", "scent", ("Fig Leaf", "Sea Salt", "Unscented"), "29.00"),
    Product("Marée Basse Eau de Parfum", "Fragrance", "size", ("10 ml", "50 ml", "100 ml"), "88.00"),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in the mesh now. `loaded` is False when all of it was there before."""

    skus: int
    locations: int
    units: int
    loaded: bool

    def __str__(self) -> str:
        """One line for the terminal."""
        state = "loaded" if self.loaded else "is there"
        return f"demo catalogue {state}: {self.skus} SKUs at {self.locations} locations, {self.units:,} units at first"


def skus() -> list[Sku]:
    """Every variant as a SKU; the product's own code groups them."""
    return [_sku(product, variant) for product in PRODUCTS for variant in product.variants]


def counts() -> list[stock_pb2.SetLine]:
    """What lies where at first. Not every store has everything; the same numbers every time."""
    return [
        stock_pb2.SetLine(sku=sku.sku, location=location, quantity=quantity, expected_revision=0)
        for location, (fewest, most) in STOCKED.items()
        for sku, quantity in zip(skus(), _quantities(fewest, most), strict=False)
        if not (location == "ST-PARIS" and quantity % 7 == 0)
    ]


def load(ready: dict[str, Any]) -> Summary:
    """Puts the catalogue into the mesh that this ready file describes. Stock that is there already stays as it is.

    Raises:
        MeshError: what the service refused.
    """
    return asyncio.run(_load(ready))


def lines_to_try(ready: dict[str, Any]) -> list[str]:
    """Command lines that a newcomer can paste one after the other: the first one names the token for the others."""
    edge = ready["edge"][0]
    sku, location = skus()[0].sku, LOCATIONS[0].location
    cart = {"lines": [{"sku": sku, "quantity": 2}], "couponCodes": [COUPON]}
    checkout = {**cart, "lines": [{"sku": sku, "location": location, "quantity": 2}]}
    authorized = 'curl -sS -H "Authorization: Bearer $TOKEN"'
    posting = f"{authorized} -H 'Content-Type: application/json'"
    return [
        f"TOKEN={ready['token']}; {authorized} {edge}/v1/skus/{sku}/availability",
        f"{posting} {edge}/v1/carts:evaluate -d '{json.dumps(cart)}'",
        f"{posting} {edge}/v1/checkouts -d '{json.dumps(checkout)}'",
        f"curl -sS {edge}/v1/storefront/skus/{sku}/availability",
        # Quietly, because curl takes the end of its time for a fault.
        f"{authorized.replace('-sS', '-s')} -N --max-time {WATCH_SECONDS} '{edge}/v1/stock:watch?filter.skus={sku}'",
    ]


async def _load(ready: dict[str, Any]) -> Summary:
    all_skus, lines = skus(), counts()
    async with endpoint_of(ready).open_channel() as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        # Fresh ids: both calls are idempotent by their content.
        await stub.BatchUpsertSkus(catalogue_pb2.BatchUpsertSkusRequest(request_id=f"demo:{new_id()}", skus=all_skus))
        await stub.BatchUpsertLocations(
            catalogue_pb2.BatchUpsertLocationsRequest(request_id=f"demo:{new_id()}", locations=LOCATIONS)
        )
        async with endpoint_of(ready, "promo").open_channel() as promo_channel:
            await _load_offers(promo_pb2_grpc.PromoServiceStub(promo_channel), all_skus)
        loaded = await _count(stub, lines)
    return Summary(len(all_skus), len(LOCATIONS), sum(line.quantity for line in lines), loaded)


async def _load_offers(stub: promo_pb2_grpc.PromoServiceAsyncStub, all_skus: Sequence[Sku]) -> None:
    """Prices, the campaign, its promotions and the coupon; each is left as it is where it is there."""
    async for _ in upsert_prices(stub, prices_of(all_skus)):
        pass
    await _unless_there(
        stub.CreateCampaign(
            campaign_pb2.CreateCampaignRequest(request_id=f"demo:{new_id()}", campaign_id=CAMPAIGN, name="Opening")
        )
    )
    for promotion in PROMOTIONS:
        request = campaign_pb2.CreatePromotionRequest(request_id=f"demo:{new_id()}")
        request.MergeFrom(promotion)
        await _unless_there(stub.CreatePromotion(request))
    await _unless_there(
        stub.CreateCoupons(
            campaign_pb2.CreateCouponsRequest(
                request_id=f"demo:{new_id()}",
                campaign_id=CAMPAIGN,
                promotion_id=PROMOTIONS[1].promotion_id,
                codes=[COUPON],
                limit=RedemptionLimit(total=1_000),
            )
        )
    )


async def _unless_there(making: Awaitable[object]) -> None:
    try:
        await making
    except MeshError as refusal:
        if refusal.reason not in {"ID_TAKEN", "CODE_TAKEN"}:
            raise


async def _count(stub: inventory_pb2_grpc.InventoryServiceAsyncStub, lines: Sequence[stock_pb2.SetLine]) -> bool:
    """Sets the counts unless it was done before, however long ago: each line expects that there is no level yet."""
    try:
        await stub.SetStock(stock_pb2.SetStockRequest(request_id=f"demo:{new_id()}", lines=lines))
    except MeshError as refusal:
        if refusal.reason != "REVISION_CONFLICT":
            raise
        return False
    return True


def _sku(product: Product, variant: str) -> Sku:
    code = sku_code(brand=BRAND, name=f"{product.name} {variant}", category=product.category)
    group = sku_code(brand=BRAND, name=product.name, category=product.category)
    return Sku(
        sku=code,
        name=f"{product.name}, {variant}",
        product=group,
        brand=BRAND,
        category=product.category,
        attributes={product.attribute: variant, PRICE_ATTRIBUTE: product.price_usd},
    )


def _quantities(fewest: int, most: int) -> Iterator[int]:
    """Numbers between the two that look like counts: a linear congruence, so that every load has the same."""
    state = most
    while True:
        state = (state * 1_103_515_245 + 12_345) % 2**31
        yield fewest + (state >> 16) % (most - fewest + 1)


if __name__ == "__main__":
    print(load(json.load(sys.stdin)))
