"""Amounts of money: whole minor units (cents) of one currency, and how to split them without losing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_CURRENCY: Final = re.compile(r"[A-Z]{3}").fullmatch


class CurrencyMismatch(ValueError):
    """Amounts of two currencies were put together."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, which may be negative. `currency` is an ISO 4217 code."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        """Refuses what only looks like an amount: a float here would be a cent lost elsewhere."""
        if type(self.minor) is not int:
            raise TypeError(f"minor units are whole numbers, not {type(self.minor).__name__}")
        if not _CURRENCY(self.currency):
            raise ValueError(f"{self.currency!r} is not an ISO 4217 code")

    def __add__(self, other: Money) -> Money:
        """The sum.

        Raises:
            CurrencyMismatch: for two currencies.
        """
        return Money(self.minor + self._minor_of(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        """The difference.

        Raises:
            CurrencyMismatch: for two currencies.
        """
        return Money(self.minor - self._minor_of(other), self.currency)

    def __neg__(self) -> Money:
        """The same amount the other way."""
        return Money(-self.minor, self.currency)

    def prorate(self, weights: Sequence[int]) -> list[Money]:
        """Splits it in proportion to `weights`, one share for each; the shares add up to the whole, to the cent.

        Cents that do not divide go to the largest remainders, the earlier share first; no share is more than one cent
        away from its exact value. A negative amount splits like its positive twin.

        Raises:
            ValueError: for no weights, a negative one, or only zeros.

        Source: largest remainder method (Hamilton).
        """
        total = sum(weights)
        if total <= 0 or any(weight < 0 for weight in weights):
            raise ValueError(f"weights must not be negative and one must be above zero: {list(weights)}")
        sign = -1 if self.minor < 0 else 1
        exact = [abs(self.minor) * weight for weight in weights]
        shares = [each // total for each in exact]
        by_remainder = sorted(range(len(shares)), key=lambda index: (-(exact[index] % total), index))
        for index in by_remainder[: abs(self.minor) - sum(shares)]:
            shares[index] += 1
        return [Money(sign * share, self.currency) for share in shares]

    def _minor_of(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} cannot be added up")
        return other.minor
