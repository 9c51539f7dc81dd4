"""The inventory's log: the kernel's writer with the inventory's types."""

from __future__ import annotations

from inventory_svc.domain.decide import Body, Event, Reply, WorkingSet
from meshkit.log.writer import LogWriter

InventoryWriter = LogWriter[Body, WorkingSet, Event, Reply]
