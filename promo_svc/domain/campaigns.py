"""Campaigns, their promotions and coupon codes: becoming known, ending."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from meshkit.core.errors import InvalidRequest
from meshkit.core.money import Money
from promo_svc.errors import (
    CampaignEnded,
    CodeTaken,
    DuplicateLine,
    IdTaken,
    TooManyPromotions,
    UnknownCampaign,
    UnknownPromotion,
    WrongState,
)

PROMOTIONS_MAX: Final = 1_000
"""Promotions that need no coupon, of campaigns that have not ended. Each is tried on every cart: some 6 µs for its
condition, and where that holds as much for its selector on each line."""
FULL_RETRY_SECONDS: Final = 600.0
"""There is room again only once a campaign has ended."""
NAMED_IN_ERROR_MAX = 20
"""How many offenders an error names before it only counts them."""


class Limit(NamedTuple):
    """How many redemptions there may be, altogether and for each profile; 0 is no limit."""

    total: int = 0
    per_profile: int = 0


NO_LIMIT = Limit()


class PercentOff(NamedTuple):
    """Hundredths of a percent off each line."""

    basis_points: int


class AmountOff(NamedTuple):
    """An amount off the lines together."""

    amount: Money


Benefit = PercentOff | AmountOff


@dataclass(frozen=True, slots=True)
class Campaign:
    """Dates that hold promotions together."""

    campaign_id: str
    name: str
    start_time: datetime
    end_time: datetime | None
    create_time: datetime
    revision: int = 0

    def ended(self, now: datetime) -> bool:
        """Whether it is over: from `end_time` on, to the instant."""
        return self.end_time is not None and self.end_time <= now

    def runs(self, now: datetime) -> bool:
        """Whether its promotions apply."""
        return self.start_time <= now and not self.ended(now)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One condition and one benefit. `condition` and `selector` are CEL; empty ones hold always, and for all lines."""

    promotion_id: str
    campaign_id: str
    name: str
    benefit: Benefit
    condition: str = ""
    selector: str = ""
    limit: Limit = NO_LIMIT
    needs_coupon: bool = False
    priority: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Coupon:
    """A code, in capitals, that unlocks a promotion."""

    code: str
    promotion_id: str
    campaign_id: str
    limit: Limit = NO_LIMIT
    revision: int = 0


class CreateCampaign(NamedTuple):
    """Make a campaign; it starts now where `start_time` is not said."""

    campaign_id: str
    name: str
    start_time: datetime | None = None
    end_time: datetime | None = None


class EndCampaign(NamedTuple):
    """Let a campaign end; now where `end_time` is not said or past."""

    campaign_id: str
    end_time: datetime | None = None


class CreatePromotion(NamedTuple):
    """Make a promotion, whose expressions have been compiled already."""

    promotion: Promotion


class CreateCoupons(NamedTuple):
    """Make coupon codes for a promotion; the codes are in capitals."""

    campaign_id: str
    promotion_id: str
    codes: tuple[str, ...]
    limit: Limit = NO_LIMIT


class CampaignCreated(NamedTuple):
    """There is a campaign."""

    campaign: Campaign


class CampaignEndSet(NamedTuple):
    """The campaign's end is another now."""

    campaign: Campaign


class PromotionCreated(NamedTuple):
    """There is a promotion."""

    promotion: Promotion


class CouponCreated(NamedTuple):
    """There is a coupon code."""

    coupon: Coupon


class CampaignReply(NamedTuple):
    """The campaign, and the revision after the command."""

    campaign: Campaign
    revision: int


class PromotionReply(NamedTuple):
    """The promotion, and the revision of the command."""

    promotion: Promotion
    revision: int


class CouponsReply(NamedTuple):
    """How many codes were made, and the revision of the command."""

    created: int
    revision: int


def create_campaign(known: Container[str], command: CreateCampaign, *, now: datetime, revision: int) -> Campaign:
    """The new campaign.

    Raises:
        IdTaken
        InvalidRequest: it would end before it starts.
    """
    require_free("campaign_id", command.campaign_id, known)
    start_time = command.start_time or now
    if command.end_time is not None and command.end_time <= start_time:
        raise InvalidRequest.of("end_time", f"must be after the start, {start_time.isoformat()}")
    return Campaign(command.campaign_id, command.name, start_time, command.end_time, now, revision)


def end_campaign(
    campaigns: Mapping[str, Campaign], command: EndCampaign, *, now: datetime, revision: int
) -> Campaign | None:
    """The campaign with its other end; None if it ends then anyway. One that has not begun may end before it does.

    Raises:
        UnknownCampaign
        CampaignEnded: it is over.
    """
    campaign = require_campaign(campaigns, command.campaign_id)
    if campaign.end_time is not None and campaign.end_time <= now:
        metadata = {"campaign_id": campaign.campaign_id, "end_time": campaign.end_time.isoformat()}
        raise CampaignEnded(f"campaign {campaign.campaign_id} has ended already", metadata=metadata)
    end_time = max(command.end_time or now, now)
    return None if end_time == campaign.end_time else replace(campaign, end_time=end_time, revision=revision)


def create_promotion(
    campaigns: Mapping[str, Campaign],
    known: Container[str],
    command: CreatePromotion,
    *,
    running: int,
    now: datetime,
    revision: int,
) -> Promotion:
    """The new promotion; `running` need no coupon and are of campaigns that have not ended.

    Raises:
        UnknownCampaign, IdTaken
        TooManyPromotions: every cart would be tried against one more than `PROMOTIONS_MAX`.
    """
    campaign = require_campaign(campaigns, command.promotion.campaign_id)
    require_free("promotion_id", command.promotion.promotion_id, known)
    if running >= PROMOTIONS_MAX and not command.promotion.needs_coupon and not campaign.ended(now):
        message = f"{running} promotions run without a coupon, or will; end a campaign first"
        metadata = {"promotions": str(running), "promotions_max": str(PROMOTIONS_MAX)}
        raise TooManyPromotions(message, metadata=metadata, retry_seconds=FULL_RETRY_SECONDS)
    return replace(command.promotion, revision=revision)


def create_coupons(
    promotions: Mapping[str, Promotion], known: Container[str], command: CreateCoupons, *, revision: int
) -> list[Coupon]:
    """The new codes, in the order of the command.

    Raises:
        UnknownPromotion: there is none, or it is another campaign's.
        WrongState: it needs no coupon.
        DuplicateLine: a code stands twice.
        CodeTaken: naming the first ones.
    """
    promotion = promotions.get(command.promotion_id)
    if promotion is None or promotion.campaign_id != command.campaign_id:
        raise unknown_promotion(command.promotion_id)
    if not promotion.needs_coupon:
        metadata = {"promotion_id": promotion.promotion_id}
        raise WrongState(f"promotion {promotion.promotion_id} needs no coupon", metadata=metadata)
    seen: set[str] = set()
    for code in command.codes:
        if code in seen:
            raise DuplicateLine(f"the code {code} stands twice in the request", metadata={"code": code})
        seen.add(code)
    taken = [code for code in command.codes if code in known]
    if taken:
        metadata = {"codes": " ".join(taken[:NAMED_IN_ERROR_MAX]), "count": str(len(taken))}
        raise CodeTaken(f"the code {taken[0]} is in use already", metadata=metadata)
    return [
        Coupon(code, promotion.promotion_id, promotion.campaign_id, command.limit, revision) for code in command.codes
    ]


def capitals(code: str) -> str:
    """The code as it is stored, without the spaces around it that come with copying.

    Only ASCII codes are made, and other letters must not turn into them.
    """
    bare = code.strip()
    return bare.upper() if bare.isascii() else bare


def require_campaign(campaigns: Mapping[str, Campaign], campaign_id: str) -> Campaign:
    """The campaign.

    Raises:
        UnknownCampaign
    """
    campaign = campaigns.get(campaign_id)
    if campaign is None:
        raise unknown_campaign(campaign_id)
    return campaign


def require_free(name: str, chosen: str, known: Container[str]) -> None:
    """Refuses an id that is in use.

    Raises:
        IdTaken
    """
    if chosen in known:
        raise IdTaken(f"{name} {chosen} is in use already", metadata={name: chosen})


def unknown_campaign(campaign_id: str) -> UnknownCampaign:
    """The refusal."""
    return UnknownCampaign(f"unknown campaign {campaign_id}", metadata={"campaign_id": campaign_id})


def unknown_promotion(promotion_id: str) -> UnknownPromotion:
    """The refusal."""
    return UnknownPromotion(f"unknown promotion {promotion_id}", metadata={"promotion_id": promotion_id})
