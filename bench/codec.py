"""What JSON costs: the edge's compiled codec against protobuf's `json_format`, both ways, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

from google.protobuf import json_format

from beautymesh.common.v1 import money_pb2
from beautymesh.edge.v1 import checkout_pb2
from beautymesh.inventory.v1 import reservation_pb2
from beautymesh.promo.v1 import cart_pb2
from bench.calls import LOCATION, Job, sku
from edge_gateway.rest.codec import Codecs
from meshkit.core.ids import new_id

LINES: Final = 3
CALLS: Final = 200
"""Calls in one stretch; of many stretches the fastest counts, because noise only ever adds."""


def _request() -> reservation_pb2.ReserveStockRequest:
    lines = [reservation_pb2.ReserveLine(sku=sku(n), location=LOCATION, quantity=n + 1) for n in range(LINES)]
    return reservation_pb2.ReserveStockRequest(request_id=new_id(), lines=lines, channel="default")


def _checkout() -> checkout_pb2.CreateCheckoutResponse:
    price = money_pb2.Money(minor=1_250, currency="USD")
    checkout = checkout_pb2.Checkout(
        checkout_id=new_id(),
        state=checkout_pb2.CHECKOUT_STATE_OPEN,
        totals=cart_pb2.CartTotals(subtotal=price, total=price),
        channel="default",
        reservation_id=new_id(),
    )
    for number in range(LINES):
        checkout.lines.add(
            sku=sku(number), location=LOCATION, quantity=1, unit_price=price, subtotal=price, total=price
        )
    checkout.expire_time.GetCurrentTime()
    return checkout_pb2.CreateCheckoutResponse(checkout=checkout)


async def compare(job: Job) -> Job:
    """Microseconds of each, in turns for so many seconds."""
    asked, answered = _request(), _checkout()
    codecs = Codecs()
    decode, encode = codecs.of(asked.DESCRIPTOR).decode, codecs.of(answered.DESCRIPTOR).encode
    body = json_format.MessageToJson(asked, indent=None).encode()
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(body, reservation_pb2.ReserveStockRequest()),
        "encode": lambda: encode(answered),
        "json_format_decode": lambda: json_format.Parse(body, reservation_pb2.ReserveStockRequest()),
        "json_format_encode": lambda: json_format.MessageToJson(answered, indent=None).encode(),
    }
    best = dict.fromkeys(calls, float("inf"))
    end = perf_counter() + job["seconds"]
    while perf_counter() < end:
        for name, call in calls.items():
            begun = perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], 1e6 * (perf_counter() - begun) / CALLS)
    return {f"{name}_us": round(us, 1) for name, us in best.items()}
