"""What callers get."""

from __future__ import annotations

from google.protobuf.message import Message

from beautymesh.promo.v1 import campaign_pb2, log_pb2, price_pb2, redemption_pb2
from meshkit.log.audit import Step
from meshkit.rpc.times import timestamp
from promo_svc.domain.campaigns import CampaignReply, CouponsReply, PromotionReply
from promo_svc.domain.decide import Reply
from promo_svc.domain.prices import PricesUpserted
from promo_svc.domain.redemptions import Held, Settled
from promo_svc.store.queries import CouponRow, PriceRow, PromotionRow
from promo_svc.wire import messages


def encode(reply: Reply) -> bytes:
    """A reply as it goes to the caller and is kept for repeats.

    RPCs that give the same domain reply have answers with the same fields under the same numbers (a test holds that),
    so one message stands for all of them: CreateCampaignResponse for end, CommitRedemptionResponse for release and
    reverse.
    """
    message: Message
    match reply:
        case Held():
            message = redemption_pb2.HoldRedemptionResponse(
                redemption_id=reply.redemption_id, expire_time=timestamp(reply.expire_time), revision=reply.revision
            )
        case Settled():
            message = redemption_pb2.CommitRedemptionResponse(
                redemption_id=reply.redemption_id, revision=reply.revision
            )
        case PricesUpserted():
            message = price_pb2.BatchUpsertPricesResponse(
                created=reply.created, updated=reply.updated, unchanged=reply.unchanged, revision=reply.revision
            )
        case CampaignReply():
            message = campaign_pb2.CreateCampaignResponse(
                campaign=messages.campaign(reply.campaign), revision=reply.revision
            )
        case PromotionReply():
            message = campaign_pb2.CreatePromotionResponse(
                promotion=messages.promotion(reply.promotion), revision=reply.revision
            )
        case CouponsReply():
            message = campaign_pb2.CreateCouponsResponse(created=reply.created, revision=reply.revision)
    return message.SerializeToString()


def price(row: PriceRow) -> price_pb2.Price:
    """A price as callers see it."""
    return messages.price(row.price, row.revision)


def promotion(row: PromotionRow) -> campaign_pb2.Promotion:
    """A promotion as callers see it."""
    return messages.promotion(row.promotion, row.counts, row.revision)


def coupon(row: CouponRow) -> campaign_pb2.Coupon:
    """A coupon as callers see it."""
    return messages.coupon(row.coupon, row.counts, row.revision)


def verify_step(step: Step) -> log_pb2.VerifyPromoResponse:
    """A step of the check."""
    return log_pb2.VerifyPromoResponse(
        checked_revision=step.checked_revision,
        head_revision=step.head_revision,
        problems=[
            log_pb2.PromoProblem(rule=each.rule, subject=each.subject, expected=each.expected, found=each.actual)
            for each in step.problems
        ],
        checked_rows=step.checked_rows,
        done=step.done,
    )
