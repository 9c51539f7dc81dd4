"""Checking that the log is whole and that every counter is the sum of its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Step, audit
from meshkit.log.model import EventRow
from promo_svc.store.keys import SEPARATOR
from promo_svc.store.ledger import MessageOf, checks


def verify_promo(
    engine: AsyncEngine, *, message_of: MessageOf, made: Callable[[EventRow], Iterable[str]]
) -> AsyncIterator[Step]:
    """The log first, then counters, prices, what offers are made of, and redemptions; see `meshkit.log.audit`.

    `message_of` and `made` know what events look like.
    """
    return audit(engine, checks(message_of), readable=_readable, made=made)


def _readable(key: str) -> str:
    return " ".join(part for part in key.split(SEPARATOR) if part)
