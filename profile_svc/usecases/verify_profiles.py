"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Step, audit
from profile_svc.store.keys import SEPARATOR
from profile_svc.store.ledger import check_lines, check_profiles, check_purchases


def verify_profiles(engine: AsyncEngine) -> AsyncIterator[Step]:
    """The log first, then profiles, purchases and their lines; see `meshkit.log.audit`."""
    return audit(engine, [check_profiles, check_purchases, check_lines], readable=_readable)


def _readable(key: str) -> str:
    """The subject as the pages of its noun write it."""
    return key.replace(SEPARATOR, " ")
