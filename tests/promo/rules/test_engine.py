"""CEL of promotions: what it sees, what it refuses, and that it never breaks a cart."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import pytest
import structlog

from meshkit.core.errors import Kind
from promo_svc.domain.evaluate import Line, ProfileFacts
from promo_svc.errors import InvalidExpression
from promo_svc.rules.engine import BoundRules, RuleEngine
from promo_svc.usecases.evaluate_cart import Cart
from tests.promo.shop import promotion

CART = Cart((), "webshop", "USD", placement="banner", experiments=(("color", "red"),))
LINES = (Line("LIP-RED", 2, 1_999), Line("MASCARA", 1, 2_450), Line("LIP-RED", 1, 1_000))
ANN = ProfileFacts(known=True, tags=("gold",), order_count=3)


@pytest.fixture(scope="module")
def engine() -> RuleEngine:
    """One for all: compiling is what it keeps."""
    return RuleEngine()


@pytest.fixture
def bound(engine: RuleEngine) -> BoundRules:
    """On ann's cart of 4 units for 74.48."""
    return engine.of_cart(CART, LINES, ANN)


CONDITIONS = [
    ("", True),
    ("cart.subtotal_minor == 7448 && cart.quantity == 4", True),
    ("cart.skus == ['LIP-RED', 'MASCARA']", True),
    ("cart.channel == 'webshop' && cart.currency == 'USD'", True),
    ("'gold' in profile.tags && profile.order_count >= 3 && profile.known", True),
    ("context.placement == 'banner' && context.experiments['color'] == 'red'", True),
    ("cart.quantity > 4", False),
    ("cart.quantity / 0 == 1", False),
    ("context.experiments['none'] == 'red'", False),
    ("cart.subtotal_minor * 9223372036854775807 > 0", False),
    ("['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].all(a, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].all(b, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].all(c, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].all(d, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].all(e, a + b + c + d + e != 'x')))))", False),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_what_a_condition_sees(bound: BoundRules, condition: str, expected: bool) -> None:  # noqa: FBT001 — a table's column
    assert bound.holds(condition) is expected


SELECTORS = [
    ("", [True, True, True]),
    ("line.sku.startsWith('LIP')", [True, False, True]),
    ("line.quantity > 1 || line.unit_price_minor < 1500", [True, False, True]),
    ("line.sku in cart.skus && profile.known", [True, True, True]),
    ("line.unit_price_minor / (line.quantity - 1) > 0", [True, False, False]),
]


@pytest.mark.parametrize(("selector", "expected"), SELECTORS)
def test_what_a_selector_takes(bound: BoundRules, selector: str, expected: list[bool]) -> None:
    assert [bound.selects(selector, index) for index in range(3)] == expected


INVALID = [
    # condition, selector, which, line and column, what is wrong
    ("cart.total > 1", "", "condition", "line 1, column 5: undefined field 'total' not found"),
    ("cart.channel ==\n 5", "", "condition", "line 1, column 14: found no matching overload"),
    ("cart.quantity >", "", "condition", "line 1, column 16: Syntax error"),
    ("line.sku == 'A'", "", "condition", "line 1, column 5: undeclared reference to 'line.sku'"),
    ("cart.quantity", "", "condition", "line 1, column 1: answers int, not bool"),
    ("dyn(true)", "", "condition", "line 1, column 1: answers dyn, not bool"),
    ("  ", "", "condition", "line 1, column 3: Syntax error"),
    ("cart.channel ==\n'a\0'", "", "condition", "line 2, column 3: holds U+0000"),
    ("(" * 300 + "true" + ")" * 300, "", "condition", "line 1, column 1: is too complex"),
    ("", "line.price > 1", "selector", "line 1, column 5: undefined field 'price'"),
]


@pytest.mark.parametrize(("condition", "selector", "place", "said"), INVALID)
def test_a_fault_is_found_when_the_promotion_is_made(
    engine: RuleEngine, condition: str, selector: str, place: str, said: str
) -> None:
    with pytest.raises(InvalidExpression) as refused:
        engine.require_valid(promotion("p", condition=condition, selector=selector))
    (violation,) = refused.value.violations
    assert (refused.value.kind, refused.value.metadata["field"], violation.field) == (Kind.INVALID, place, place)
    assert violation.description.startswith(said), violation.description


PERSONAL = [
    ("'gold' in profile.tags", "", True),
    ("", "profile.order_count == 0", True),
    ("has(profile.tags)", "", True),
    ("cart.channel == 'profile'", "", False),
    ("cart.skus.exists(profile, profile == 'A')", "line.sku == 'profile.tags'", False),
    ("", "", False),
]


@pytest.mark.parametrize(("condition", "selector", "expected"), PERSONAL)
def test_whether_the_profile_matters_is_known_without_asking_for_it(
    engine: RuleEngine,
    condition: str,
    selector: str,
    expected: bool,  # noqa: FBT001 — a table's column
) -> None:
    assert engine.mentions_profile(promotion("p", condition=condition, selector=selector)) is expected


def test_a_fault_at_run_time_is_logged_once_and_without_what_it_met() -> None:
    engine = RuleEngine()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            bound = engine.of_cart(CART, LINES, ANN)
            assert not bound.holds("context.experiments[profile.tags[0]] == 'red'")
    assert [(each["event"], each["place"], each["fault"]) for each in logged] == [
        ("rules.fault", "condition", "NOT_FOUND")
    ]
    assert "gold" not in str(logged)
