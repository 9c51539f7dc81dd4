"""How much an expression can do at most, read from its compiled form before it is ever run.

The library bounds rounds of comprehensions, not what a round does: it compares lists, builds literals, and nests. So
every step that a cart could ask for is counted beforehand, with facts as large as the contract lets them be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.message import DecodeError, Message

FACT_SIZE_MAX: Final = 128
"""What a list, map or message of the facts may hold: 100 SKUs, 64 tags, 32 experiments, and the few fields of each."""
COMPREHENSIONS_NESTED_MAX: Final = 2
CHARACTERS_A_STEP: Final = 16
"""Characters of a text literal that are worth one step more."""

ELEMENT_STEPS: Final = 4
"""What it costs to compare one element of a list: the library wraps each one first."""

_COMPARING: Final = frozenset({"_==_", "_!=_", "@in"})
"""What looks at every element of a list."""


class TooCostly(Exception):
    """The expression may do too much, or has something of which that cannot be said."""


def require_cheap(serialized: bytes, *, steps_max: int) -> None:
    """Refuses an expression that could take more than `steps_max` steps on some cart.

    Raises:
        TooCostly: saying what there is too much of.
    """
    envelope = any_pb2.Any.FromString(serialized)
    try:
        checked: Any = _CHECKED.FromString(envelope.value)
    except DecodeError as fault:  # protobuf reads 100 levels
        raise TooCostly("is too complex") from fault
    steps = _Counter({entry.key for entry in checked.type_map if entry.value.primitive}).steps(checked.expr, nested=0)
    if steps > steps_max:
        raise TooCostly(f"may take {steps} steps on a large cart, more than {steps_max}")


class _Counter:
    """Counts the steps of a tree; `scalar` are the ids of the nodes that are one number, text or truth value."""

    def __init__(self, scalar: set[int]) -> None:
        self._scalar = scalar
        self._kinds: Mapping[str, Callable[[Any, int], int]] = {
            "const_expr": lambda literal, _: 1 + len(literal.string_value or literal.bytes_value) // CHARACTERS_A_STEP,
            "ident_expr": lambda _, __: 1,
            "select_expr": lambda select, nested: 1 + self.steps(select.operand, nested=nested),
            "call_expr": self._call,
            "list_expr": self._list,
            "comprehension_expr": self._comprehension,
        }

    def steps(self, node: Any, *, nested: int) -> int:  # noqa: ANN401 — a message that is known at run time only
        """The most steps that the node can take, `nested` comprehensions deep."""
        kind = node.WhichOneof("kind")
        if kind not in self._kinds:
            raise TooCostly("builds a map or a message; only lists can be written")
        return self._kinds[kind](getattr(node, kind), nested)

    def _call(self, call: Any, nested: int) -> int:  # noqa: ANN401 — as above
        targets = [call.target] if call.HasField("target") else []
        own = 1
        if call.function in _COMPARING:
            own = ELEMENT_STEPS * max(self._size(each) for each in call.args)
        return own + sum(self.steps(each, nested=nested) for each in (*targets, *call.args))

    def _list(self, literal: Any, nested: int) -> int:  # noqa: ANN401 — as above
        # A list of lists could grow with every comprehension around it: [[a, a]].all(b, [[b, b]].all(c, …)).
        if any(each.id not in self._scalar for each in literal.elements):
            raise TooCostly("has a list of something else than numbers, texts and truth values")
        return 1 + sum(self.steps(each, nested=nested) for each in literal.elements)

    def _comprehension(self, each: Any, nested: int) -> int:  # noqa: ANN401 — as above
        if nested == COMPREHENSIONS_NESTED_MAX:
            raise TooCostly(f"nests more than {COMPREHENSIONS_NESTED_MAX} comprehensions")
        round_steps = sum(self.steps(part, nested=nested + 1) for part in (each.loop_condition, each.loop_step))
        once = sum(self.steps(part, nested=nested) for part in (each.iter_range, each.accu_init, each.result))
        return once + self._size(each.iter_range) * round_steps

    def _size(self, node: Any) -> int:  # noqa: ANN401 — as above
        """How many elements the node's value may have."""
        if node.id in self._scalar:
            return 1
        if node.HasField("list_expr"):
            return len(node.list_expr.elements)
        if node.HasField("call_expr") and node.call_expr.function == "_?_:_":
            return max(self._size(each) for each in node.call_expr.args[1:])
        return FACT_SIZE_MAX


# The library hands out a serialized cel.expr.CheckedExpr and no classes to read it with. These are the fields that are
# looked at here. Source: https://github.com/google/cel-spec/tree/master/proto/cel/expr (syntax.proto, checked.proto)
_FIELDS: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Checked": {"type_map": (3, "*TypeEntry"), "expr": (4, "Expr")},
    "TypeEntry": {"key": (1, "int64"), "value": (2, "Type")},
    "Type": {"primitive": (3, "int64")},
    "Expr": {
        "id": (2, "int64"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "List"),
        "struct_expr": (8, "Struct"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {"string_value": (6, "string"), "bytes_value": (7, "bytes")},
    "Ident": {},
    "Select": {"operand": (1, "Expr")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "*Expr")},
    "List": {"elements": (1, "*Expr")},
    "Struct": {},
    "Comprehension": {
        "iter_range": (2, "Expr"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
_SCALARS: Final = {
    "int64": Field.TYPE_INT64,
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
}


def _checked_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="tree.proto", package="tree", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        if name == "Expr":
            message.oneof_decl.add(name="kind")
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = Field.LABEL_REPEATED if kind.startswith("*") else Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                added.type = _SCALARS[kind]
            else:
                added.type, added.type_name = Field.TYPE_MESSAGE, f".tree.{kind.lstrip('*')}"
            if field.endswith("_expr"):
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tree.Checked"))


_CHECKED: Final = _checked_class()
