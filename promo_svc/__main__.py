"""Runs the promo process: `python -m promo_svc serve | migrate`."""

from __future__ import annotations

import sys

from meshkit.db.migrations import migrate
from meshkit.main import main
from promo_svc.settings import PromoSettings
from promo_svc.store.migrations import MIGRATIONS


def migrate_schema(settings: PromoSettings) -> None:
    """Brings the schema up to date and says what it did."""
    done = migrate(settings.database_url, MIGRATIONS)
    sys.stdout.write(
        f"promo: schema {done.after} is up to date\n"
        if done.before == done.after
        else f"promo: migrated from {done.before or 'nothing'} to {done.after}\n"
    )


if __name__ == "__main__":
    main(PromoSettings, "promo_svc.bootstrap", migrate_schema)
