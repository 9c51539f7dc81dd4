"""What the profile process can be told."""

from __future__ import annotations

from typing import ClassVar

from meshkit.log.settings import LogSettings


class ProfileSettings(LogSettings):
    """The settings of profile_svc."""

    service: ClassVar[str] = "profile"
