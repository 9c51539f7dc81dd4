"""Runs the profile process: `python -m profile_svc serve | migrate`."""

from __future__ import annotations

import sys

from meshkit.main import main
from profile_svc.settings import ProfileSettings


def migrate(_settings: ProfileSettings) -> None:
    """There is no schema yet."""
    sys.stdout.write("profile: nothing to migrate yet\n")


if __name__ == "__main__":
    main(ProfileSettings, "profile_svc.bootstrap", migrate)
