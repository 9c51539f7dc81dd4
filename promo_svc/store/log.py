"""Promo's log: the kernel's writer with promo's types."""

from __future__ import annotations

from meshkit.log.writer import LogWriter
from promo_svc.domain.decide import Body, Event, Reply, WorkingSet

PromoWriter = LogWriter[Body, WorkingSet, Event, Reply]
