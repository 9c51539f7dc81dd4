"""The RPCs that change something: each becomes a command of the log kernel, whose reply goes out as it was stored."""

from __future__ import annotations

from collections.abc import Callable

from beautymesh.promo.v1 import campaign_pb2, price_pb2, redemption_pb2
from meshkit.log.from_rpc import CommandRequest, command_from
from meshkit.rpc.call import Call
from promo_svc.domain.campaigns import Promotion
from promo_svc.domain.decide import Body
from promo_svc.store.log import PromoWriter
from promo_svc.wire import requests

OPERATE = "promo.operate"
"""The scope of staff: act on redemptions of any client."""
OFFER_WEIGHT = 4
"""Counters that one use of an offer may touch."""
REDEMPTION_WEIGHT = 10
"""Rows that a command on a redemption counts for; how many offers it has is known only once it is loaded."""


class CommandRpcs:
    """The half of the servicer that writes."""

    def __init__(
        self,
        *,
        writer: PromoWriter,
        fingerprint_key: bytes,
        new_id: Callable[[], str],
        require_valid: Callable[[Promotion], None],
    ) -> None:
        """`fingerprint_key` is the log's own; `require_valid` refuses expressions that cannot be compiled."""
        self._writer = writer
        self._fingerprint_key = fingerprint_key
        self._new_id = new_id
        self._require_valid = require_valid

    async def BatchUpsertPrices(self, request: price_pb2.BatchUpsertPricesRequest, call: Call) -> bytes:
        """Makes prices known or replaces what is known of them."""
        for channel in {price.channel for price in request.prices}:
            call.principal.require_channel(channel)
        return await self._submit(request, call, requests.upsert_prices(request), weight=len(request.prices))

    async def CreateCampaign(self, request: campaign_pb2.CreateCampaignRequest, call: Call) -> bytes:
        """Makes a campaign."""
        return await self._submit(request, call, requests.create_campaign(request, self._new_id()))

    async def EndCampaign(self, request: campaign_pb2.EndCampaignRequest, call: Call) -> bytes:
        """Ends a campaign, now or later."""
        return await self._submit(request, call, requests.end_campaign(request))

    async def CreatePromotion(self, request: campaign_pb2.CreatePromotionRequest, call: Call) -> bytes:
        """Makes a promotion of a campaign."""
        body = requests.create_promotion(request, self._new_id())
        self._require_valid(body.promotion)
        return await self._submit(request, call, body)

    async def CreateCoupons(self, request: campaign_pb2.CreateCouponsRequest, call: Call) -> bytes:
        """Makes coupon codes for a promotion."""
        return await self._submit(request, call, requests.create_coupons(request), weight=len(request.codes))

    async def HoldRedemption(self, request: redemption_pb2.HoldRedemptionRequest, call: Call) -> bytes:
        """Counts offers against their limits until it is committed, released or lapses."""
        body = requests.hold(request, self._new_id())
        return await self._submit(request, call, body, weight=OFFER_WEIGHT * len(request.offers))

    async def CommitRedemption(self, request: redemption_pb2.CommitRedemptionRequest, call: Call) -> bytes:
        """Makes a hold final."""
        body = requests.commit(request, any_client=_operates(call))
        return await self._submit(request, call, body, weight=REDEMPTION_WEIGHT)

    async def ReleaseRedemption(self, request: redemption_pb2.ReleaseRedemptionRequest, call: Call) -> bytes:
        """Gives a hold back."""
        body = requests.release(request, any_client=_operates(call))
        return await self._submit(request, call, body, weight=REDEMPTION_WEIGHT)

    async def ReverseRedemption(self, request: redemption_pb2.ReverseRedemptionRequest, call: Call) -> bytes:
        """Gives back what was committed."""
        body = requests.reverse(request, any_client=_operates(call))
        return await self._submit(request, call, body, weight=REDEMPTION_WEIGHT)

    async def _submit(self, request: CommandRequest, call: Call, body: Body, *, weight: int = 1) -> bytes:
        command = command_from(request, call, body, key=self._fingerprint_key, weight=weight)
        return (await self._writer.submit(command)).reply


def _operates(call: Call) -> bool:
    return OPERATE in call.principal.scopes
