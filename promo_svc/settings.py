"""What the promo process can be told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from meshkit.log.settings import LogSettings


class PromoSettings(LogSettings):
    """The settings of promo_svc."""

    service: ClassVar[str] = "promo"
    service_scopes: ClassVar[frozenset[str]] = frozenset({"profile.facts.read"})

    default_currency: str = Field("USD", pattern="^[A-Z]{3}$")
    """ISO 4217 code of a cart that says none."""

    profile_targets: str = ""
    """`host:port` of every process of the profile service, separated by commas. Empty: a cart that needs facts about
    its profile cannot be evaluated."""

    profile_seconds_max: float = Field(1.0, gt=0, le=30)
    """How long a cart waits for the facts about its profile."""
