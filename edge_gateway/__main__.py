"""Runs the edge process: `python -m edge_gateway serve | migrate`."""

from __future__ import annotations

import sys

from edge_gateway.settings import EdgeSettings
from edge_gateway.store.migrations import MIGRATIONS
from meshkit.db.migrations import migrate
from meshkit.main import main


def migrate_schema(settings: EdgeSettings) -> None:
    """Brings the schema up to date and says what it did."""
    done = migrate(settings.database_url, MIGRATIONS)
    sys.stdout.write(
        f"edge: schema {done.after} is up to date\n"
        if done.before == done.after
        else f"edge: migrated from {done.before or 'nothing'} to {done.after}\n"
    )


if __name__ == "__main__":
    main(EdgeSettings, "edge_gateway.bootstrap", migrate_schema)
