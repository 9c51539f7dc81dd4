"""What callers get."""

from __future__ import annotations

from google.protobuf.message import Message

from beautymesh.profile.v1 import profile_pb2
from meshkit.log.audit import Step
from profile_svc.domain.decide import Reply
from profile_svc.domain.profiles import Profile, Upserted
from profile_svc.domain.purchases import Recorded
from profile_svc.wire.messages import profile_message


def encode(reply: Reply) -> bytes:
    """A reply as it goes to the caller and is kept for repeats."""
    message: Message
    match reply:
        case Upserted():
            message = profile_pb2.UpsertProfileResponse(
                profile=profile_message(reply.profile), created=reply.created, revision=reply.revision
            )
        case Recorded():
            message = profile_pb2.RecordPurchaseResponse(
                purchase_id=reply.purchase_id, order_count=reply.order_count, revision=reply.revision
            )
    return message.SerializeToString()


def facts(profile: Profile | None, revision: int) -> profile_pb2.GetProfileFactsResponse:
    """What conditions may ask for; nothing of a profile that is not known."""
    if profile is None:
        return profile_pb2.GetProfileFactsResponse(revision=revision)
    return profile_pb2.GetProfileFactsResponse(
        known=True, tags=profile.tags, order_count=profile.order_count, revision=revision
    )


def verify_step(step: Step) -> profile_pb2.VerifyProfilesResponse:
    """A step of the check."""
    return profile_pb2.VerifyProfilesResponse(
        checked_revision=step.checked_revision,
        head_revision=step.head_revision,
        checked_rows=step.checked_rows,
        problems=[
            profile_pb2.ProfileProblem(rule=each.rule, subject=each.subject, expected=each.expected, found=each.actual)
            for each in step.problems
        ],
        done=step.done,
    )
