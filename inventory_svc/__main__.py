"""Runs the inventory process: `python -m inventory_svc serve | migrate`."""

from __future__ import annotations

from inventory_svc.settings import InventorySettings
from inventory_svc.store.migrations import MIGRATIONS
from meshkit.main import main

if __name__ == "__main__":
    main(InventorySettings, "inventory_svc.bootstrap", MIGRATIONS)
