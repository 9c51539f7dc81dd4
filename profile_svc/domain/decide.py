"""From command to rule: the pure half of the profile's log model."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshkit.core.decision import Decision, Facts
from profile_svc.domain.profiles import Profile, ProfileUpserted, Upserted, UpsertProfile, upsert
from profile_svc.domain.purchases import Purchase, PurchaseRecorded, Recorded, RecordPurchase, record_purchase

Body = UpsertProfile | RecordPurchase
Event = ProfileUpserted | PurchaseRecorded
Reply = Upserted | Recorded


@dataclass(slots=True)
class WorkingSet:
    """What a batch has loaded and changed.

    `purchase_ids` are those of the batch's commands that are taken; `changed_profiles` and `new_purchases` name what
    must be saved.
    """

    profiles: dict[str, Profile] = field(default_factory=dict)
    purchase_ids: set[str] = field(default_factory=set)
    changed_profiles: set[str] = field(default_factory=set)
    new_purchases: list[Purchase] = field(default_factory=list)


def decide(state: WorkingSet, body: Body, facts: Facts) -> Decision[Event, Reply]:
    """What the command does in this state.

    Raises:
        MeshError: it is refused; see the rule of each command.
    """
    known = state.profiles.get(body.profile_id)
    match body:
        case UpsertProfile():
            return Decision(*upsert(known, body, facts))
        case RecordPurchase():
            return Decision(*record_purchase(known, state.purchase_ids, body, facts))


def apply(state: WorkingSet, decision: Decision[Event, Reply]) -> None:
    """Brings the working set to where the decision leaves it."""
    for event in decision.events:
        state.profiles[event.profile.profile_id] = event.profile
        state.changed_profiles.add(event.profile.profile_id)
        if isinstance(event, PurchaseRecorded):
            state.purchase_ids.add(event.purchase.purchase_id)
            state.new_purchases.append(event.purchase)
