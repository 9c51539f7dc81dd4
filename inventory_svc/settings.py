"""What the inventory process can be told."""

from __future__ import annotations

from typing import ClassVar

from meshkit.feed.settings import FeedSettings
from meshkit.log.settings import LogSettings


class InventorySettings(LogSettings, FeedSettings):
    """The settings of inventory_svc."""

    service: ClassVar[str] = "inventory"
