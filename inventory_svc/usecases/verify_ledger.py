"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.store.keys import LEVEL, SEPARATOR
from inventory_svc.store.ledger import check_levels, check_lines, check_reservations, check_sellable
from meshkit.log.audit import Step, audit


def verify_ledger(engine: AsyncEngine) -> AsyncIterator[Step]:
    """The log first, then levels, sellable quantities, reservations and their lines; see `meshkit.log.audit`."""
    return audit(engine, [check_levels, check_sellable, check_reservations, check_lines], readable=_readable)


def _readable(key: str) -> str:
    """The subject as the pages of its noun write it."""
    noun, sku, place, *_ = key.split(SEPARATOR)
    return f"{noun} {sku} {'at' if noun == LEVEL else 'in'} {place}"
