"""Profiles: becoming known, and what conditions of promotions may ask of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from meshkit.core.decision import Facts


@dataclass(frozen=True, slots=True)
class Profile:
    """Our record of a person. `revision` is the one that last changed it."""

    profile_id: str
    tags: tuple[str, ...]
    order_count: int
    create_time: datetime
    revision: int


class UpsertProfile(NamedTuple):
    """Make the profile known, or replace its tags."""

    profile_id: str
    tags: tuple[str, ...] = ()


class ProfileUpserted(NamedTuple):
    """The profile as it is now."""

    profile: Profile


class Upserted(NamedTuple):
    """The profile, whether it was new, and the revision after the command."""

    profile: Profile
    created: bool
    revision: int


def upsert(known: Profile | None, command: UpsertProfile, facts: Facts) -> tuple[list[ProfileUpserted], Upserted]:
    """Makes the profile known or replaces its tags; equal tags change nothing."""
    tags = tuple(sorted(set(command.tags)))
    if known is not None and known.tags == tags:
        return [], Upserted(known, created=False, revision=facts.revision - 1)
    profile = (
        new_profile(command.profile_id, facts, tags)
        if known is None
        else replace(known, tags=tags, revision=facts.revision)
    )
    return [ProfileUpserted(profile)], Upserted(profile, created=known is None, revision=facts.revision)


def new_profile(profile_id: str, facts: Facts, tags: tuple[str, ...] = ()) -> Profile:
    """A profile that becomes known now."""
    return Profile(profile_id, tags, order_count=0, create_time=facts.now, revision=facts.revision)
