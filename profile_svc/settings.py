"""What the profile process can be told: what every process can."""

from __future__ import annotations

from typing import ClassVar

from meshkit.core.settings import ServiceSettings


class ProfileSettings(ServiceSettings):
    """The settings of profile_svc."""

    service: ClassVar[str] = "profile"
