"""What the promo process can be told: what every process can."""

from __future__ import annotations

from typing import ClassVar

from meshkit.core.settings import ServiceSettings


class PromoSettings(ServiceSettings):
    """The settings of promo_svc."""

    service: ClassVar[str] = "promo"
