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
    ("cart.skus.exists(a, ['LIP-', 'EYE-'].exists(b, a.startsWith(b)))", True),
    ("has(context.experiments) && 'color' in context.experiments && cart.skus.exists_one(a, a.endsWith('RED'))", True),
    ("cart.subtotal_minor / cart.quantity - 1 > -cart.quantity % 3 + 2 * size(cart.skus)", True),
    ("(profile.known ? cart.skus : profile.tags)[0].contains('-')", True),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_what_a_condition_sees(
    engine: RuleEngine,
    bound: BoundRules,
    condition: str,
    expected: bool,  # noqa: FBT001 — a table's column
) -> None:
    assert bound.holds(engine.compile(promotion("p", condition=condition))) is expected


SELECTORS = [
    ("", [True, True, True]),
    ("line.sku.startsWith('LIP')", [True, False, True]),
    ("line.quantity > 1 || line.unit_price_minor < 1500", [True, False, True]),
    ("line.sku in cart.skus && profile.known", [True, True, True]),
    ("line.unit_price_minor / (line.quantity - 1) > 0", [True, False, False]),
]


@pytest.mark.parametrize(("selector", "expected"), SELECTORS)
def test_what_a_selector_takes(engine: RuleEngine, bound: BoundRules, selector: str, expected: list[bool]) -> None:
    rule = engine.compile(promotion("p", selector=selector))
    assert [bound.selects(rule, index) for index in range(3)] == expected


INVALID = [
    # condition, selector, which, line and column, what is wrong
    ("cart.total > 1", "", "condition", "line 1, column 5: undefined field 'total' not found"),
    ("cart.channel ==\n 5", "", "condition", "line 1, column 14: found no matching overload"),
    ("cart.quantity >", "", "condition", "line 1, column 16: Syntax error"),
    ("line.sku == 'A'", "", "condition", "line 1, column 5: undeclared reference to 'line.sku'"),
    ("cart.quantity", "", "condition", "line 1, column 1: answers int, not bool"),
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


def nested(*ranges: str, body: str) -> str:
    """Comprehensions over `ranges`, whose variables are v0, v1 and so on."""
    opening = "".join(f"{each}.all(v{depth}, " for depth, each in enumerate(ranges))
    return f"{opening}{body}{')' * len(ranges)}"


SKUS = str([f"LIP-{number}" for number in range(300)])
TOO_COSTLY = [
    # what it would do, the expression, what is said
    ("doubles a text", nested(f"['{'x' * 50}']", "[v0 + v0 + v0]", body="v1.size() > 0"), "found no matching overload for '_+_'"),
    ("doubles a list", nested("[[1, 2]]", "[v0 + v0]", body="v1.size() > 0"), "found no matching overload for '_+_'"),
    ("doubles bytes", "b'a' + b'a' == b'aa'", "found no matching overload for '_+_'"),
    ("nests lists", nested("[[1]]", "[[v0, v0, v0]]", body="v1 == v1"), "has a list of something else"),
    ("compares lists of lists", "[cart.skus, cart.skus] == [cart.skus]", "has a list of something else"),
    ("makes a pattern of facts", nested("cart.skus", "cart.skus", body="v0.matches(v1)"), "undeclared reference to 'matches'"),
    ("has a pattern", "cart.channel.matches('(a*)*b')", "undeclared reference to 'matches'"),
    ("builds a list", "cart.skus.map(a, a).size() > 0", "undeclared reference to 'a'"),
    ("builds a part of a list", "cart.skus.filter(a, a == 'A').size() > 0", "undeclared reference to 'a'"),
    ("builds a map", "{'a': 1}['a'] == 1", "builds a map or a message"),
    ("builds a message", "beautymesh.promo.v1.CartFacts{channel: 'a'} == cart", "builds a map or a message"),
    ("hides a type", "dyn(cart.skus) == 1", "undeclared reference to 'dyn'"),
    ("reads time zones", "timestamp('2026-01-01T00:00:00Z').getHours(context.placement) > 1", "undeclared reference to 'timestamp'"),
    ("nests too deep", nested("['a']", "['b']", "['c']", body="v0 != v1"), "nests more than 2 comprehensions"),
    ("nests two lists of facts", nested("cart.skus", "cart.skus", body="v0 != v1"), "may take "),
    ("compares lists in every round", nested("cart.skus", body=" && ".join(["cart.skus == cart.skus"] * 9)), "may take "),
    ("writes a list in every round", nested("cart.skus", body=f"v0 in {SKUS}"), "may take "),
    ("writes a text in every round", nested("cart.skus", body=f"'{'x' * 4_000}'.contains(v0)"), "may take "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), [case[1:] for case in TOO_COSTLY], ids=[case[0] for case in TOO_COSTLY])
def test_what_could_take_long_is_refused_when_the_promotion_is_made(engine: RuleEngine, text: str, said: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        engine.require_valid(promotion("p", condition=text))
    assert refused.value.violations[0].description.partition(": ")[2].startswith(said), refused.value.violations
    with pytest.raises(InvalidExpression) as refused:
        engine.require_valid(promotion("p", selector=text))
    assert refused.value.metadata["field"] == "selector"


def test_a_selector_may_do_less_than_a_condition_because_it_is_asked_for_every_line(engine: RuleEngine) -> None:
    text = nested("cart.skus", "['A-', 'B-', 'C-', 'D-', 'E-', 'F-']", body="!v0.startsWith(v1)")
    engine.require_valid(promotion("p", condition=text))
    with pytest.raises(InvalidExpression) as refused:
        engine.require_valid(promotion("p", selector=text))
    assert refused.value.violations[0].description.endswith(" steps on a large cart, more than 5000")


def test_what_shops_ask_for_is_cheap_enough(engine: RuleEngine) -> None:
    engine.require_valid(promotion("p", condition=nested("cart.skus", "['A-', 'B-', 'C-']", body="v0.startsWith(v1)")))
    engine.require_valid(promotion("p", condition=" || ".join(f"'SKU-{each}' in cart.skus" for each in range(30))))
    engine.require_valid(promotion("p", selector=f"line.sku in {SKUS} && 'gold' in profile.tags"))
    engine.require_valid(promotion("p", selector="profile.tags.exists(tag, line.sku.startsWith(tag))"))


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
    assert engine.compile(promotion("p", condition=condition, selector=selector)).personal is expected


def test_a_fault_at_run_time_is_logged_once_and_without_what_it_met() -> None:
    engine = RuleEngine()
    rule = engine.compile(promotion("p", condition="context.experiments[profile.tags[0]] == 'red'"))
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            bound = engine.of_cart(CART, LINES, ANN)
            assert not bound.holds(rule)
    assert [(each["event"], each["place"], each["fault"]) for each in logged] == [
        ("rules.fault", "condition", "NOT_FOUND")
    ]
    assert "gold" not in str(logged)


def test_what_only_an_older_version_took_holds_never_and_is_logged_once() -> None:
    engine = RuleEngine()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            rule = engine.compile(promotion("p", condition="cart.channel.matches('web.*')"))
            assert not engine.of_cart(CART, LINES, ANN).holds(rule)
    assert [(each["event"], each["place"], each["fault"]) for each in logged] == [
        ("rules.fault", "condition", "INVALID_EXPRESSION")
    ]
