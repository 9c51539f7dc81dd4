"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Step, audit
from promo_svc.store.keys import SEPARATOR
from promo_svc.store.ledger import CHECKS


def verify_promo(engine: AsyncEngine) -> AsyncIterator[Step]:
    """The log first, then counters, prices, what offers are made of, and redemptions; see `meshkit.log.audit`."""
    return audit(engine, CHECKS, readable=lambda key: " ".join(part for part in key.split(SEPARATOR) if part))
