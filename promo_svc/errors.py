"""What promo refuses, and why."""

from __future__ import annotations

from meshkit.core.errors import Kind, MeshError


class UnknownCampaign(MeshError):
    """No such campaign."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_CAMPAIGN"


class UnknownPromotion(MeshError):
    """No such promotion, or none of this campaign; the metadata names it."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_PROMOTION"


class UnknownCoupon(MeshError):
    """No such code of this promotion, or none was given where it needs one."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_COUPON"


class UnknownRedemption(MeshError):
    """No such redemption of this client."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_REDEMPTION"


class IdTaken(MeshError):
    """The id that the caller chose is in use already."""

    kind = Kind.REFUSED
    reason = "ID_TAKEN"


class CodeTaken(MeshError):
    """A coupon code is in use already; the metadata names the first ones."""

    kind = Kind.REFUSED
    reason = "CODE_TAKEN"


class CampaignEnded(MeshError):
    """The campaign has ended already."""

    kind = Kind.REFUSED
    reason = "CAMPAIGN_ENDED"


class NotRunning(MeshError):
    """The campaign has not begun or has ended; the metadata names every such offer."""

    kind = Kind.REFUSED
    reason = "NOT_RUNNING"


class LimitReached(MeshError):
    """A limit is used up; the metadata names every such offer and which of its limits."""

    kind = Kind.REFUSED
    reason = "LIMIT_REACHED"


class RedemptionExpired(MeshError):
    """The hold lapsed."""

    kind = Kind.REFUSED
    reason = "REDEMPTION_EXPIRED"


class WrongState(MeshError):
    """The redemption or promotion is in a state that does not allow this."""

    kind = Kind.REFUSED
    reason = "WRONG_STATE"


class NoPrice(MeshError):
    """SKUs have no price in this channel and currency now; the metadata names every one."""

    kind = Kind.REFUSED
    reason = "NO_PRICE"


class TooManyPromotions(MeshError):
    """As many promotions as a cart can be tried against in time run already without a coupon, or will."""

    kind = Kind.TOO_MANY
    reason = "TOO_MANY_PROMOTIONS"


class DuplicateLine(MeshError):
    """The same key stands twice in a request that sets values."""

    kind = Kind.INVALID
    reason = "DUPLICATE_LINE"


class CurrencyMismatch(MeshError):
    """A price of the caller's own is in another currency than the cart; the violations name every such line."""

    kind = Kind.INVALID
    reason = "CURRENCY_MISMATCH"


class InvalidExpression(MeshError):
    """A condition or selector cannot be compiled; the violation names which, where and why."""

    kind = Kind.INVALID
    reason = "INVALID_EXPRESSION"
