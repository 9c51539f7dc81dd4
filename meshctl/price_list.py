"""What a catalogue says of prices, for promo's price list: US dollars, without tax, in all channels, from ever on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from typing import Final

from beautymesh.inventory.v1.catalogue_pb2 import Sku
from beautymesh.promo.v1 import price_pb2, promo_pb2_grpc
from meshkit.core.ids import new_id

PRICE_ATTRIBUTE: Final = "price_usd"
"""The attribute of a SKU that holds its price, as an amount of dollars such as 12 or 12.50."""

PRICES_PER_CALL_MAX: Final = 10_000
CALL_SECONDS_MAX: Final = 60.0


def prices_of(skus: Iterable[Sku]) -> list[price_pb2.Price]:
    """The prices of those SKUs that have one."""
    return [
        price_pb2.Price(sku=sku.sku, currency="USD", price_minor=cents(sku.attributes[PRICE_ATTRIBUTE]))
        for sku in skus
        if PRICE_ATTRIBUTE in sku.attributes
    ]


def cents(dollars: str) -> int:
    """An amount of dollars with at most two decimals, exactly."""
    minor = Decimal(dollars) * 100
    assert minor == int(minor), f"{dollars} is no whole number of cents"
    return int(minor)


async def upsert_prices(
    stub: promo_pb2_grpc.PromoServiceAsyncStub, prices: Sequence[price_pb2.Price]
) -> AsyncIterator[price_pb2.BatchUpsertPricesResponse]:
    """Writes the prices, some thousands a call, and gives each call's answer. Repeated, it changes nothing.

    Raises:
        MeshError: what the service refused; what was written before it stays.
    """
    for start in range(0, len(prices), PRICES_PER_CALL_MAX):
        some = prices[start : start + PRICES_PER_CALL_MAX]
        # A fresh id: the call is idempotent by its content, and prices that change and change back are to be written.
        request = price_pb2.BatchUpsertPricesRequest(request_id=f"prices:{new_id()}", prices=some)
        yield await stub.BatchUpsertPrices(request, timeout=CALL_SECONDS_MAX)
