"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Step, audit
from profile_svc.store.keys import SEPARATOR
from profile_svc.store.ledger import MessageOf, checks


def verify_profiles(engine: AsyncEngine, *, message_of: MessageOf) -> AsyncIterator[Step]:
    """The log first, then profiles, purchases and their lines; see `meshkit.log.audit`.

    `message_of` knows what payloads look like.
    """
    return audit(engine, checks(message_of), readable=_readable)


def _readable(key: str) -> str:
    """The subject as the pages of its noun write it."""
    return key.replace(SEPARATOR, " ")
