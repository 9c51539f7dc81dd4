"""From command to rule: the pure half of promo's log model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from meshkit.core.decision import Decision, Facts
from promo_svc.domain import campaigns, prices, redemptions
from promo_svc.domain.campaigns import (
    Campaign,
    CampaignCreated,
    CampaignEndSet,
    CampaignReply,
    Coupon,
    CouponCreated,
    CouponsReply,
    CreateCampaign,
    CreateCoupons,
    CreatePromotion,
    EndCampaign,
    Promotion,
    PromotionCreated,
    PromotionReply,
)
from promo_svc.domain.counters import Counter, CounterKey
from promo_svc.domain.prices import Price, PriceKey, PriceSet, PricesUpserted, UpsertPrices
from promo_svc.domain.redemptions import (
    Change,
    Commit,
    Counted,
    Expire,
    Held,
    Hold,
    Offers,
    Redemption,
    Release,
    Reverse,
    Settled,
    State,
)

Body = (
    UpsertPrices
    | CreateCampaign
    | EndCampaign
    | CreatePromotion
    | CreateCoupons
    | Hold
    | Commit
    | Release
    | Reverse
    | Expire
)
Event = PriceSet | CampaignCreated | CampaignEndSet | PromotionCreated | CouponCreated | Counted
Reply = PricesUpserted | CampaignReply | PromotionReply | CouponsReply | Held | Settled


@dataclass(slots=True)
class WorkingSet:
    """What a batch has loaded and changed. `changed_*` name what must be saved, prices with their revision.

    `running` counts the promotions that every cart is tried against; it is loaded where one is to be made.
    """

    prices: dict[PriceKey, Price] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    promotions: dict[str, Promotion] = field(default_factory=dict)
    coupons: dict[str, Coupon] = field(default_factory=dict)
    counters: dict[CounterKey, Counter] = field(default_factory=dict)
    redemptions: dict[str, Redemption] = field(default_factory=dict)
    running: int = 0
    lapsing_until: datetime | None = None
    """Of the holds that lapse on the promotions of the commands, later ones are not loaded; None: all are."""
    changed_prices: dict[PriceKey, int] = field(default_factory=dict)
    changed_campaigns: set[str] = field(default_factory=set)
    changed_promotions: set[str] = field(default_factory=set)
    changed_coupons: set[str] = field(default_factory=set)
    changed_counters: set[CounterKey] = field(default_factory=set)
    changed_redemptions: set[str] = field(default_factory=set)

    @property
    def offers(self) -> Offers:
        """What is known of the offers that commands name."""
        return Offers(self.campaigns, self.promotions, self.coupons)


def lapsed(state: WorkingSet, now: datetime) -> list[Redemption]:
    """The loaded holds that time has ended, oldest expiry first."""
    ended = [redemption for redemption in state.redemptions.values() if redemption.lapsed(now)]
    return sorted(ended, key=lambda redemption: (redemption.expire_time, redemption.redemption_id))


def overdue(state: WorkingSet, now: datetime) -> bool:
    """Whether holds may have lapsed that are not loaded."""
    return state.lapsing_until is not None and state.lapsing_until <= now


def decide(state: WorkingSet, body: Body, facts: Facts) -> Decision[Event, Reply]:  # noqa: C901, PLR0911 — a table, one row a command
    """What the command does in this state.

    Raises:
        MeshError: it is refused; see the rule of each command.
    """
    now, revision = facts.now, facts.revision
    match body:
        case UpsertPrices():
            changed = prices.compare(body.prices, state.prices)
            created = sum(each.before is None for each in changed)
            unchanged = len(body.prices) - len(changed)
            reply = PricesUpserted(created, len(changed) - created, unchanged, _revision(facts, changed))
            return Decision(changed, reply)
        case CreateCampaign():
            campaign = campaigns.create_campaign(state.campaigns, body, now=now, revision=revision)
            return Decision([CampaignCreated(campaign)], CampaignReply(campaign, revision))
        case EndCampaign():
            ended = campaigns.end_campaign(state.campaigns, body, now=now, revision=revision)
            if ended is None:
                return Decision([], CampaignReply(state.campaigns[body.campaign_id], revision - 1))
            return Decision([CampaignEndSet(ended)], CampaignReply(ended, revision))
        case CreatePromotion():
            promotion = campaigns.create_promotion(
                state.campaigns, state.promotions, body, running=state.running, now=now, revision=revision
            )
            return Decision([PromotionCreated(promotion)], PromotionReply(promotion, revision))
        case CreateCoupons():
            coupons = campaigns.create_coupons(state.promotions, state.coupons, body, revision=revision)
            return Decision([CouponCreated(coupon) for coupon in coupons], CouponsReply(len(coupons), revision))
        case Hold():
            campaigns.require_free("redemption_id", body.redemption_id, state.redemptions)
            client_id = facts.origin.client_id
            change = redemptions.hold(
                state.offers, state.counters, body, client_id=client_id, now=now, revision=revision
            )
            return Decision(change[0], Held(body.redemption_id, change[1].expire_time, revision))
        case Commit():
            own = _own(state, body, facts)
            return _settled(body.redemption_id, redemptions.commit(state.counters, own, body, revision=revision), facts)
        case Release() | Reverse():
            return _undo(state, body, facts)
        case Expire():
            found = redemptions.require_own(
                state.redemptions.get(body.redemption_id), body.redemption_id, "", any_client=True
            )
            lapse = (
                redemptions.give_back(state.counters, found, State.EXPIRED, revision=revision)
                if found.lapsed(now)
                else None
            )
            return _settled(body.redemption_id, lapse, facts)


def apply(state: WorkingSet, decision: Decision[Event, Reply], facts: Facts) -> None:
    """Brings the working set to where the decision leaves it."""
    for event in decision.events:
        match event:
            case Counted():
                state.counters[event.key] = Counter(event.after, event.redemptions_max, facts.revision)
                state.changed_counters.add(event.key)
                # The same one in every event of the command: P3 needs no more than the last.
                state.redemptions[event.redemption.redemption_id] = event.redemption
                state.changed_redemptions.add(event.redemption.redemption_id)
            case PriceSet():
                state.prices[event.price.key] = event.price
                state.changed_prices[event.price.key] = facts.revision
            case CampaignCreated() | CampaignEndSet():
                state.campaigns[event.campaign.campaign_id] = event.campaign
                state.changed_campaigns.add(event.campaign.campaign_id)
            case PromotionCreated():
                state.promotions[event.promotion.promotion_id] = event.promotion
                state.changed_promotions.add(event.promotion.promotion_id)
                state.running += not event.promotion.needs_coupon
            case CouponCreated():
                state.coupons[event.coupon.code] = event.coupon
                state.changed_coupons.add(event.coupon.code)


def _undo(state: WorkingSet, body: Release | Reverse, facts: Facts) -> Decision[Event, Reply]:
    if body.in_saga and body.redemption_id not in state.redemptions:
        # An undo may overtake what it undoes; the saga's fence then bars the late hold.
        return _settled(body.redemption_id, None, facts)
    own = _own(state, body, facts)
    if isinstance(body, Release):
        change = redemptions.release(state.counters, own, revision=facts.revision)
    else:
        change = redemptions.reverse(state.counters, own, in_saga=body.in_saga, revision=facts.revision)
    return _settled(body.redemption_id, change, facts)


def _own(state: WorkingSet, body: Commit | Release | Reverse, facts: Facts) -> Redemption:
    own = redemptions.require_own(
        state.redemptions.get(body.redemption_id),
        body.redemption_id,
        facts.origin.client_id,
        any_client=body.any_client,
    )
    assert not own.lapsed(facts.now), f"{own.redemption_id} lapsed at {own.expire_time} and was not expired"
    return own


def _settled(redemption_id: str, change: Change | None, facts: Facts) -> Decision[Event, Reply]:
    events = change[0] if change else []
    return Decision(events, Settled(redemption_id, _revision(facts, events)))


def _revision(facts: Facts, changes: Sequence[object]) -> int:
    """The revision after the command: its own if it changes anything, else the one before."""
    return facts.revision if changes else facts.revision - 1
