"""What offers take off a cart: arithmetic in tables, and its invariants on any cart."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.core.errors import InvalidRequest
from promo_svc.domain.campaigns import Benefit, Coupon, Limit, PercentOff, Promotion
from promo_svc.domain.counters import OFFERS_MAX, Counter, CounterKey, Counters, Counts
from promo_svc.domain.evaluate import (
    MINOR_MAX,
    Candidate,
    Evaluation,
    Line,
    Reason,
    evaluate,
    require_bounded,
    taken_off,
)
from tests.promo.shop import amount_off, promotion


def candidate(
    made: Promotion,
    *,
    coupon: Coupon | None = None,
    code: str = "",
    holds: bool = True,
    lines: tuple[int, ...] | None = None,
) -> Candidate:
    return Candidate(made, coupon, code, lambda: holds, lambda index: lines is None or index in lines)


def coupon(code: str, promotion_id: str, limit: tuple[int, int] = (0, 0)) -> Coupon:
    return Coupon(code, promotion_id, "spring", Limit(*limit))


def evaluated(
    costs: list[int], *candidates: Candidate, counters: Counters | None = None, profile_id: str = ""
) -> Evaluation:
    lines = [Line(f"S{index}", 1, cost) for index, cost in enumerate(costs)]
    return evaluate(lines, candidates, counters or {}, currency="USD", profile_id=profile_id)


def off(found: Evaluation) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.promotion.promotion_id, each.off_minor) for each in found.applied]


TAKEN: list[tuple[str, Benefit, list[int], list[int]]] = [
    ("a percentage of each line", PercentOff(2_000), [1_000, 250], [200, 50]),
    ("half a cent is rounded up", PercentOff(500), [10, 30, 50, 9, 11], [1, 2, 3, 0, 1]),
    ("each line is rounded for itself", PercentOff(5_000), [1, 1, 1], [1, 1, 1]),
    ("all of it", PercentOff(10_000), [1_999, 1], [1_999, 1]),
    ("a hundredth of a percent", PercentOff(1), [4_999, 5_000], [0, 1]),
    ("an amount by what lines cost", amount_off(100), [300, 100], [75, 25]),
    ("cents that do not divide go to the largest remainders", amount_off(100), [100, 100, 100], [34, 33, 33]),
    ("an amount never takes more than there is", amount_off(1_000), [300, 100], [300, 100]),
    ("lines that cost nothing get nothing", amount_off(1), [0, 5, 0, 5], [0, 1, 0, 0]),
    ("the largest amounts", amount_off(10**15), [10**15 - 1, 1], [10**15 - 1, 1]),
]


@pytest.mark.parametrize(
    ("benefit", "costs", "expected"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN]
)
def test_what_a_benefit_takes_off(benefit: Benefit, costs: list[int], expected: list[int]) -> None:
    assert taken_off(benefit, costs) == expected


def test_offers_apply_by_priority_then_id_each_to_what_is_left() -> None:
    found = evaluated(
        [1_000],
        candidate(promotion("b", PercentOff(5_000))),
        candidate(promotion("a", PercentOff(5_000))),
        candidate(promotion("z", amount_off(100), priority=-1)),
    )
    assert off(found) == [("z", (100,)), ("a", (450,)), ("b", (225,))]


def test_a_selector_narrows_and_the_order_of_lines_stays() -> None:
    found = evaluated([300, 100, 100], candidate(promotion("p", amount_off(100)), lines=(0, 2)))
    assert off(found) == [("p", (75, 0, 25))]


CODE = coupon("CODE", "p")
FULL = {CounterKey("p"): Counter(Counts(1, 1), 2, 1)}
FULL_CODE = {CounterKey("p", "CODE"): Counter(Counts(0, 2), 2, 1)}
OF_ANN = {CounterKey("p", "", "ann"): Counter(Counts(1, 0), 1, 1)}
CODE_OF_ANN = {CounterKey("p", "CODE", "ann"): Counter(Counts(0, 1), 1, 1)}
LIMITED = promotion("p", limit=(2, 0))
ONCE = promotion("p", limit=(0, 1))
L, P, C = Reason.LIMIT_REACHED, Reason.PROFILE_LIMIT_REACHED, Reason.CONDITION_NOT_MET
REJECTED: list[tuple[str, Candidate, Counters, str, Reason | None]] = [
    # why, the offer, what is counted, the profile, the reason that is named (None: not named)
    ("a limit that is used up", candidate(LIMITED), FULL, "", L),
    ("a limit that is used up, though the condition does not hold", candidate(LIMITED, holds=False), FULL, "", None),
    ("a limit that is used up, though no line is taken", candidate(LIMITED, lines=()), FULL, "", None),
    ("a profile's limit", candidate(ONCE), OF_ANN, "ann", P),
    ("a profile's limit without a profile", candidate(ONCE), {}, "", P),
    ("both limits", candidate(promotion("p", limit=(2, 1))), FULL | OF_ANN, "ann", L),
    ("a condition", candidate(promotion("p"), holds=False), {}, "", None),
    ("a selector", candidate(promotion("p"), lines=()), {}, "", None),
    ("another currency", candidate(promotion("p", amount_off(5, "EUR"))), {}, "", None),
    ("by code: a condition", candidate(promotion("p"), coupon=CODE, code="code", holds=False), {}, "", C),
    ("by code: a selector", candidate(promotion("p"), coupon=CODE, code="code", lines=()), {}, "", C),
    ("by code: another currency", candidate(promotion("p", amount_off(5, "EUR")), coupon=CODE, code="code"), {}, "", C),
    ("by code: nothing comes off", candidate(promotion("p", PercentOff(1)), coupon=CODE, code="code"), {}, "", C),
    ("by code: the promotion's limit", candidate(LIMITED, coupon=CODE, code="code"), FULL, "", L),
    ("by code: the limit goes before the condition", candidate(LIMITED, coupon=CODE, code="code", holds=False), FULL, "", L),
    ("by code: the code's limit", candidate(promotion("p"), coupon=coupon("CODE", "p", (2, 0)), code="code"), FULL_CODE, "", L),
    ("by code: the code's limit for a profile", candidate(promotion("p"), coupon=coupon("CODE", "p", (0, 1)), code="code"), CODE_OF_ANN, "ann", P),
]  # fmt: skip


@pytest.mark.parametrize(
    ("offer", "counters", "profile_id", "reason"), [case[1:] for case in REJECTED], ids=[case[0] for case in REJECTED]
)
def test_an_offer_that_does_not_apply(
    offer: Candidate, counters: Counters, profile_id: str, reason: Reason | None
) -> None:
    found = evaluated([100], offer, counters=counters, profile_id=profile_id)
    assert found.applied == []
    assert [(each.promotion_id, each.code, each.reason) for each in found.rejected] == (
        [("p", offer.code, reason)] if reason else []
    )


def test_a_limit_that_has_one_left_applies() -> None:
    found = evaluated([100], candidate(LIMITED), counters={CounterKey("p"): Counter(Counts(1, 0), 2, 1)})
    assert (off(found), found.rejected) == ([("p", (20,))], [])


def test_what_others_use_does_not_count_for_a_profile() -> None:
    assert off(evaluated([100], candidate(ONCE), counters=OF_ANN, profile_id="ben")) == [("p", (20,))]


def test_the_first_code_that_can_be_used_unlocks_a_promotion_once() -> None:
    made = promotion("p", needs_coupon=True)
    full = candidate(made, coupon=coupon("CODE", "p", (2, 0)), code="code")
    good = candidate(made, coupon=coupon("GOOD", "p"), code="Good")
    more = candidate(made, coupon=coupon("MORE", "p"), code="MORE")
    found = evaluated([100], full, good, more, counters=FULL_CODE)
    assert [(each.coupon_code, each.off_minor) for each in found.applied] == [("GOOD", (20,))]
    assert [(each.code, each.reason) for each in found.rejected] == [("code", L), ("MORE", Reason.ALREADY_APPLIED)]


def test_no_more_offers_apply_than_can_be_held_and_codes_that_are_left_out_are_named() -> None:
    many = [candidate(promotion(f"p{number:03d}", amount_off(1))) for number in range(OFFERS_MAX + 1)]
    late = promotion("z", amount_off(1), priority=1)
    found = evaluated(
        [1_000],
        candidate(late, coupon=coupon("LATE", "z"), code="late"),
        candidate(late, coupon=coupon("NOT", "z"), code="not", holds=False),
        candidate(promotion("early", amount_off(1), priority=-1), coupon=coupon("EARLY", "early"), code="early"),
        *many,
    )
    assert [each.promotion.promotion_id for each in found.applied] == [
        "early", *[f"p{number:03d}" for number in range(OFFERS_MAX - 1)],
    ]  # fmt: skip
    assert [(each.code, each.reason) for each in found.rejected] == [
        ("late", Reason.TOO_MANY_OFFERS), ("not", Reason.CONDITION_NOT_MET),
    ]  # fmt: skip


def test_a_cart_that_is_free_gets_nothing_more() -> None:
    found = evaluated([100], candidate(promotion("a", PercentOff(10_000))), candidate(promotion("b", amount_off(1))))
    assert off(found) == [("a", (100,))]


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([Line("A", 10**6, 10**9 + 1)], "lines[0].quantity"),
        ([Line("A", 1, MINOR_MAX), Line("B", 1, 0), Line("C", 1, 1)], "lines[2].quantity"),
    ],
)
def test_a_cart_above_what_an_amount_may_hold_is_refused(lines: list[Line], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        require_bounded(lines)
    assert refused.value.violations[0].field == field
    require_bounded([Line("A", 10**6, 10**9)])


COSTS = st.lists(st.integers(0, 10**13), min_size=1, max_size=8)
BENEFITS = st.one_of(st.builds(PercentOff, st.integers(1, 10_000)), st.builds(amount_off, st.integers(1, 10**15)))


@given(COSTS, st.integers(1, 10**15))
def test_an_amount_comes_off_whole_or_as_far_as_the_lines_cost(costs: list[int], minor: int) -> None:
    if any(costs):
        taken = taken_off(amount_off(minor), costs)
        assert sum(taken) == min(minor, sum(costs))
        assert all(0 <= less <= cost for less, cost in zip(taken, costs, strict=True))


@given(COSTS, st.integers(1, 10_000))
def test_a_percentage_is_off_by_at_most_half_a_cent(costs: list[int], basis_points: int) -> None:
    for less, cost in zip(taken_off(PercentOff(basis_points), costs), costs, strict=True):
        assert -10_000 < 2 * (less * 10_000 - cost * basis_points) <= 10_000
        assert 0 <= less <= cost


@given(COSTS, st.lists(st.tuples(BENEFITS, st.sets(st.integers(0, 7)), st.integers(0, 3)), max_size=6))
def test_lines_and_totals_agree_and_nothing_falls_below_zero(
    costs: list[int], offers: list[tuple[Benefit, set[int], int]]
) -> None:
    found = evaluated(
        costs,
        *[
            candidate(promotion(f"p{number}", benefit, priority=priority), lines=tuple(lines))
            for number, (benefit, lines, priority) in enumerate(offers)
        ],
    )
    left = list(costs)
    for applied in found.applied:
        assert sum(applied.off_minor) > 0
        left = [before - less for before, less in zip(left, applied.off_minor, strict=True)]
        assert min(left) >= 0
    assert sum(costs) - sum(sum(each.off_minor) for each in found.applied) == sum(left)
    order = [(each.promotion.priority, each.promotion.promotion_id) for each in found.applied]
    assert order == sorted(order)
