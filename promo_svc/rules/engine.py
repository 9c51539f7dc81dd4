"""CEL for promotions: compiled and type-checked when a promotion is made, evaluated on the facts of a cart.

What an expression can cost is bounded three times. The contract bounds its length. The dialect has only what takes no
longer than its facts are large: nothing that makes text or lists longer, and no regular expressions. `cost` counts what
it could do on the largest cart. The library's own bounds (32 levels, 10,000 rounds) are not enough: a round may do
anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from cel_expr_python import cel

from beautymesh.promo.v1 import cart_pb2
from meshkit.core.errors import FieldViolation
from promo_svc.domain.campaigns import Promotion
from promo_svc.domain.evaluate import Line, ProfileFacts
from promo_svc.errors import InvalidExpression
from promo_svc.rules.cost import TooCostly, require_cheap
from promo_svc.usecases.evaluate_cart import Cart

_log = structlog.get_logger(__name__)

FAULTS_NAMED_MAX: Final = 1_000
"""Expressions whose fault at run time is logged, once each."""
STEPS_MAX: Final = {"condition": 20_000, "selector": 5_000}
"""What one evaluation may do on the largest cart; a step takes some 0.1 µs. A selector is evaluated for each line."""

_DIALECT: Final = """
name: promo
stdlib:
  include_macros: [has, all, exists, exists_one]
  include_functions:
    - name: "_&&_"
    - name: "_||_"
    - name: "!_"
    - name: "_?_:_"
    - name: "_==_"
    - name: "_!=_"
    - name: "_<_"
    - name: "_<=_"
    - name: "_>_"
    - name: "_>=_"
    - name: "_+_"
      overloads: [{id: add_int64}]
    - name: "_-_"
      overloads: [{id: subtract_int64}]
    - name: "_*_"
      overloads: [{id: multiply_int64}]
    - name: "_/_"
      overloads: [{id: divide_int64}]
    - name: "_%_"
      overloads: [{id: modulo_int64}]
    - name: "-_"
      overloads: [{id: negate_int64}]
    - name: "_[_]"
    - name: "@in"
    - name: "@not_strictly_false"
    - name: size
    - name: startsWith
    - name: endsWith
    - name: contains
"""
"""All that there is, so that what a later library adds is not let in by it. `+` of texts or lists, `map` and `filter`
build what is larger than the facts; `matches` takes as long as its pattern likes; times have no fact to work on."""
_POSITION: Final = re.compile(r"<input>:(\d+):(\d+): (.*)")
_OF_CART: Final = {
    "cart": cart_pb2.CartFacts.DESCRIPTOR.full_name,
    "context": cart_pb2.ContextFacts.DESCRIPTOR.full_name,
}
_PROFILE: Final = {"profile": cart_pb2.ProfileFacts.DESCRIPTOR.full_name}
_LINE: Final = {"line": cart_pb2.LineFacts.DESCRIPTOR.full_name}


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled condition or selector, and whether it mentions the profile."""

    place: str
    text: str
    expression: cel.Expression
    personal: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """What is compiled of a promotion; None for an expression that is empty. One that is `broken` holds never."""

    condition: Program | None = None
    selector: Program | None = None
    broken: bool = False

    @property
    def personal(self) -> bool:
        """Whether condition or selector can tell one person from another."""
        return any(each.personal for each in (self.condition, self.selector) if each)


class RuleEngine:
    """Compiles expressions, and evaluates them on carts. Whoever has compiled something keeps it."""

    def __init__(self) -> None:
        """Two dialects: a condition sees the cart, a selector a line of it too; each with and without the profile."""
        self._dialects = {
            ("condition", True): _environment(_OF_CART | _PROFILE),
            ("condition", False): _environment(_OF_CART),
            ("selector", True): _environment(_OF_CART | _PROFILE | _LINE),
            ("selector", False): _environment(_OF_CART | _LINE),
        }
        self._faults: set[tuple[str, str]] = set()

    def require_valid(self, promotion: Promotion) -> None:
        """Refuses a promotion whose expressions cannot be compiled or do not answer yes or no.

        Raises:
            InvalidExpression: naming condition or selector, and the place of the fault in it.
        """
        self._rule(promotion)

    def compile(self, promotion: Promotion) -> Rule:
        """What a promotion that there is says. Some 0.2 ms; one that only an older version took holds never."""
        try:
            return self._rule(promotion)
        except InvalidExpression as fault:
            place = fault.metadata["field"]
            self.say_fault(place, promotion.condition if place == "condition" else promotion.selector, fault.reason)
            return Rule(broken=True)

    def of_cart(self, cart: Cart, lines: Sequence[Line], profile: ProfileFacts) -> BoundRules:
        """Binds the facts of a cart."""
        return BoundRules(self, cart, lines, profile)

    def activation(self, place: str, facts: Mapping[str, object]) -> cel.Activation:
        """The facts as all expressions of a place share them."""
        return self._dialects[place, True].Activation(dict(facts))

    def is_true(self, program: Program, activation: cel.Activation) -> bool:
        """What the expression answers; a fault at run time (division by zero, no such key) counts as no."""
        try:
            answer = program.expression.eval(activation).value()
        except RuntimeError as fault:
            self.say_fault(program.place, program.text, str(fault))
            return False
        if not isinstance(answer, bool):
            self.say_fault(program.place, program.text, str(answer))
            return False
        return answer

    def say_fault(self, place: str, text: str, fault: str) -> None:
        """Logs an expression's fault once, by its sort only: the whole message may quote a fact about a person."""
        if (place, text) not in self._faults and len(self._faults) < FAULTS_NAMED_MAX:
            self._faults.add((place, text))
            _log.warning("rules.fault", place=place, expression=text[:200], fault=fault.partition(":")[0][:40])

    def _rule(self, promotion: Promotion) -> Rule:
        return Rule(
            condition=self._compile("condition", promotion.condition) if promotion.condition else None,
            selector=self._compile("selector", promotion.selector) if promotion.selector else None,
        )

    def _compile(self, place: str, text: str) -> Program:
        if "\0" in text:  # CEL takes it, PostgreSQL does not
            before = text[: text.index("\0")]
            raise _invalid(place, before.count("\n") + 1, len(before) - before.rfind("\n"), "holds U+0000")
        try:
            expression = self._dialects[place, True].compile(text)
        except RuntimeError as fault:
            found = _POSITION.search(str(fault))
            if found is None:  # too deep: the library does not say where
                raise _invalid(place, 1, 1, "is too complex") from fault
            raise _invalid(place, int(found[1]), int(found[2]), found[3]) from fault
        if expression.return_type() != cel.Type.BOOL:
            raise _invalid(place, 1, 1, f"answers {expression.return_type().name().lower()}, not bool")
        try:
            require_cheap(expression.serialize(), steps_max=STEPS_MAX[place])
        except TooCostly as fault:
            raise _invalid(place, 1, 1, str(fault)) from fault
        return Program(place, text, expression, personal=self._mentions_profile(place, text))

    def _mentions_profile(self, place: str, text: str) -> bool:
        # What compiles without knowing the name does not use it. The word alone may be a text, a field or a variable.
        if "profile" not in text:
            return False
        try:
            self._dialects[place, False].compile(text)
        except RuntimeError:
            return True
        return False


class BoundRules:
    """The rules on one cart. Facts are handed to CEL once for all conditions, and once a line for all selectors."""

    def __init__(self, engine: RuleEngine, cart: Cart, lines: Sequence[Line], profile: ProfileFacts) -> None:
        """Use `RuleEngine.of_cart`."""
        self._engine = engine
        self._lines = lines
        self._facts = {
            "cart": cart_pb2.CartFacts(
                channel=cart.channel,
                currency=cart.currency,
                subtotal_minor=sum(line.subtotal_minor for line in lines),
                quantity=sum(line.quantity for line in lines),
                skus=list(dict.fromkeys(line.sku for line in lines)),
            ),
            "profile": cart_pb2.ProfileFacts(known=profile.known, tags=profile.tags, order_count=profile.order_count),
            "context": cart_pb2.ContextFacts(placement=cart.placement, experiments=dict(cart.experiments)),
        }
        self._whole: cel.Activation | None = None
        self._by_line: dict[int, cel.Activation] = {}

    def holds(self, rule: Rule) -> bool:
        """Whether the condition holds; an empty one does."""
        if rule.broken or rule.condition is None:
            return not rule.broken
        if self._whole is None:
            self._whole = self._engine.activation("condition", self._facts)
        return self._engine.is_true(rule.condition, self._whole)

    def selects(self, rule: Rule, index: int) -> bool:
        """Whether the selector takes the line; an empty one does."""
        if rule.selector is None:
            return True
        if index not in self._by_line:
            line = self._lines[index]
            facts = cart_pb2.LineFacts(sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
            self._by_line[index] = self._engine.activation("selector", {**self._facts, "line": facts})
        return self._engine.is_true(rule.selector, self._by_line[index])


def _environment(variables: Mapping[str, str]) -> cel.Env:
    types: dict[str, Any] = {name: cel.Type(message) for name, message in variables.items()}
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(_DIALECT), variables=types)


def _invalid(place: str, line: int, column: int, what: str) -> InvalidExpression:
    said = f"line {line}, column {column}: {what}"
    metadata = {"field": place, "line": str(line), "column": str(column)}
    return InvalidExpression(f"{place}: {said}", metadata=metadata, violations=(FieldViolation(place, said),))
