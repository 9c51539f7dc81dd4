"""What the inventory process can be told."""

from __future__ import annotations

from typing import ClassVar

from meshkit.log.settings import LogSettings


class InventorySettings(LogSettings):
    """The settings of inventory_svc."""

    service: ClassVar[str] = "inventory"
