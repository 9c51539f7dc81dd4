"""Runs the profile process: `python -m profile_svc serve | migrate`."""

from __future__ import annotations

from meshkit.main import main
from profile_svc.settings import ProfileSettings
from profile_svc.store.migrations import MIGRATIONS

if __name__ == "__main__":
    main(ProfileSettings, "profile_svc.bootstrap", MIGRATIONS)
