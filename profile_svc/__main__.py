"""Runs the profile process: `python -m profile_svc serve | migrate`."""

from __future__ import annotations

import sys

from meshkit.db.migrations import migrate
from meshkit.main import main
from profile_svc.settings import ProfileSettings
from profile_svc.store.migrations import MIGRATIONS


def migrate_schema(settings: ProfileSettings) -> None:
    """Brings the schema up to date and says what it did."""
    done = migrate(settings.database_url, MIGRATIONS)
    sys.stdout.write(
        f"profile: schema {done.after} is up to date\n"
        if done.before == done.after
        else f"profile: migrated from {done.before or 'nothing'} to {done.after}\n"
    )


if __name__ == "__main__":
    main(ProfileSettings, "profile_svc.bootstrap", migrate_schema)
