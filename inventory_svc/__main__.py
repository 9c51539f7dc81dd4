"""Runs the inventory process: `python -m inventory_svc serve | migrate`."""

from __future__ import annotations

import sys

from inventory_svc.settings import InventorySettings
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.db.migrations import migrate
from meshkit.main import main


def migrate_schema(settings: InventorySettings) -> None:
    """Brings the schema up to date and says what it did."""
    done = migrate(settings.database_url, MIGRATIONS)
    sys.stdout.write(
        f"inventory: schema {done.after} is up to date\n"
        if done.before == done.after
        else f"inventory: migrated from {done.before or 'nothing'} to {done.after}\n"
    )


if __name__ == "__main__":
    main(InventorySettings, "inventory_svc.bootstrap", migrate_schema)
