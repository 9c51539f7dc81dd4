from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.core.money import CurrencyMismatch, Money


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def test_amounts_of_one_currency_add_up() -> None:
    assert eur(150) + eur(-50) == eur(100)
    assert eur(100) - eur(150) == eur(-50)
    assert -eur(5) == eur(-5)


def test_amounts_of_two_currencies_do_not() -> None:
    with pytest.raises(CurrencyMismatch, match="EUR and USD cannot be added up"):
        eur(1) + Money(1, "USD")


@pytest.mark.parametrize("minor", [1.0, "1", True, None])
def test_only_a_whole_number_is_an_amount(minor: object) -> None:
    with pytest.raises(TypeError, match="minor units are whole numbers"):
        Money(cast("int", minor), "EUR")


@pytest.mark.parametrize("currency", ["", "eur", "EU", "EURO", "€"])
def test_only_an_iso_code_is_a_currency(currency: str) -> None:
    with pytest.raises(ValueError, match="is not an ISO 4217 code"):
        Money(1, currency)


@pytest.mark.parametrize(
    ("minor", "weights", "shares"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (101, [1, 1, 1], [34, 34, 33]),
        (100, [0, 1], [0, 100]),
        (1, [1, 1], [1, 0]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (0, [3, 4], [0, 0]),
        (1000, [1999, 4999, 2], [286, 714, 0]),
        (10, [5, 3, 2], [5, 3, 2]),
    ],
)
def test_shares_are_proportional_and_the_odd_cents_go_to_the_largest_remainders(
    minor: int, weights: list[int], shares: list[int]
) -> None:
    assert [share.minor for share in eur(minor).prorate(weights)] == shares


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [2, -1]])
def test_weights_that_cannot_split_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights must not be negative"):
        eur(100).prorate(weights)


@given(
    minor=st.integers(-(10**12), 10**12),
    weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(lambda each: sum(each) > 0),
)
def test_no_cent_is_lost_and_no_share_is_a_cent_off(minor: int, weights: list[int]) -> None:
    shares = [share.minor for share in eur(minor).prorate(weights)]
    assert sum(shares) == minor
    total = sum(weights)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * total - minor * weight) < total
