"""Requests that are right, to be bent by tests, and how they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message

from beautymesh.promo.v1 import campaign_pb2, cart_pb2, price_pb2, promo_pb2, redemption_pb2
from meshkit.core.errors import MeshError
from meshkit.core.ids import new_id
from tests.promo.clients import Stub

SERVICE = promo_pb2.DESCRIPTOR.services_by_name["PromoService"]


@dataclass(frozen=True, slots=True)
class Stand:
    """Names that no other test knows."""

    red: str
    blue: str
    campaign: str
    percent: str
    amount: str
    code: str

    @classmethod
    def new(cls, mark: str) -> Stand:
        return cls(f"RED-{mark}", f"BLUE-{mark}", f"c-{mark}", f"p-{mark}", f"q-{mark}", f"CODE-{mark}".upper())


async def send(stub: Stub, request: Message) -> Any:  # noqa: ANN401 — the answer of whichever RPC it is
    """Calls the request's RPC; of a stream the first message."""
    method = SERVICE.methods_by_name[request.DESCRIPTOR.name.removesuffix("Request")]
    answer = getattr(stub, method.name)(request, timeout=10)
    if not method.server_streaming:
        return await answer
    async for message in answer:
        return message
    raise AssertionError("an empty stream")


async def refusal(stub: Stub, request: Message) -> MeshError:
    """The refusal of a request that must be refused."""
    with pytest.raises(MeshError) as refused:
        await send(stub, request)
    return refused.value


def prices(sku: str, minor: int, **fields: Any) -> price_pb2.BatchUpsertPricesRequest:  # noqa: ANN401 — a table's
    price = price_pb2.Price(**{"sku": sku, "currency": "USD", "price_minor": minor, **fields})
    return price_pb2.BatchUpsertPricesRequest(request_id=new_id(), prices=[price])


def campaign(stand: Stand, **fields: Any) -> campaign_pb2.CreateCampaignRequest:  # noqa: ANN401 — a table's
    return campaign_pb2.CreateCampaignRequest(
        **{"request_id": new_id(), "campaign_id": stand.campaign, "name": "Spring", **fields}
    )


def promotion(stand: Stand, promotion_id: str, **fields: Any) -> campaign_pb2.CreatePromotionRequest:  # noqa: ANN401 — a table's
    return campaign_pb2.CreatePromotionRequest(
        **{
            "request_id": new_id(),
            "campaign_id": stand.campaign,
            "promotion_id": promotion_id,
            "name": "Twenty",
            "benefit": {"percent_off_basis_points": 2_000},
            **fields,
        }
    )


def coupons(stand: Stand, *codes: str, **fields: Any) -> campaign_pb2.CreateCouponsRequest:  # noqa: ANN401 — a table's
    return campaign_pb2.CreateCouponsRequest(
        **{
            "request_id": new_id(),
            "campaign_id": stand.campaign,
            "promotion_id": stand.amount,
            "codes": codes,
            **fields,
        }
    )


def cart(*lines: tuple[str, int], **fields: Any) -> cart_pb2.EvaluateCartRequest:  # noqa: ANN401 — a table's
    wanted = [cart_pb2.CartLine(sku=sku, quantity=quantity) for sku, quantity in lines]
    return cart_pb2.EvaluateCartRequest(**{"lines": wanted, **fields})


def hold(*offers: tuple[str, str], **fields: Any) -> redemption_pb2.HoldRedemptionRequest:  # noqa: ANN401 — a table's
    used = [redemption_pb2.RedeemedOffer(promotion_id=each, coupon_code=code) for each, code in offers]
    return redemption_pb2.HoldRedemptionRequest(**{"request_id": new_id(), "offers": used, **fields})


def commit(redemption_id: str, **fields: Any) -> redemption_pb2.CommitRedemptionRequest:  # noqa: ANN401 — a table's
    return redemption_pb2.CommitRedemptionRequest(
        **{"request_id": new_id(), "redemption_id": redemption_id, "order_reference": "order-1", **fields}
    )


def release(redemption_id: str, **fields: Any) -> redemption_pb2.ReleaseRedemptionRequest:  # noqa: ANN401 — a table's
    return redemption_pb2.ReleaseRedemptionRequest(**{"request_id": new_id(), "redemption_id": redemption_id, **fields})


def reverse(redemption_id: str, **fields: Any) -> redemption_pb2.ReverseRedemptionRequest:  # noqa: ANN401 — a table's
    return redemption_pb2.ReverseRedemptionRequest(**{"request_id": new_id(), "redemption_id": redemption_id, **fields})
