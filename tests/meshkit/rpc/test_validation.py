"""What is said about a request that breaks the contract's rules, and how much is looked at for it."""
# ruff: noqa: ANN401 — messages here are of any type

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator, Violation

from beautymesh.inventory.v1 import inventory_pb2
from beautymesh.inventory.v1.catalogue_pb2 import BatchUpsertSkusRequest, Sku
from beautymesh.inventory.v1.reservation_pb2 import (
    BatchReserveStockRequest,
    ReserveEntry,
    ReserveLine,
    ReserveStockRequest,
)
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.bounds import count_bound
from meshkit.rpc.interceptors.validation import ELEMENTS_MAX, Validation
from meshkit.rpc.options import read_policies
from tests.edge.rest.messages import MESSAGES

SERVICE = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]


class Watched:
    """A validator that remembers how it was asked; True stands for the search that ends with the first fault."""

    def __init__(self) -> None:
        self._real = Validator()
        self.asked: list[bool] = []

    def collect_violations(self, message: Any, *, fail_fast: bool = False) -> list[Violation]:
        self.asked.append(fail_fast)
        return self._real.collect_violations(message, fail_fast=fail_fast)


def refusal(request: Any) -> tuple[InvalidRequest, list[bool]]:
    """The refusal, and how the validator was asked for it."""
    watched: Any = Watched()
    policy = next(iter(read_policies([SERVICE]).values()))
    validation = Validation(policy, type(request), watched)
    watched.asked.clear()
    with pytest.raises(InvalidRequest) as refused:
        validation.check(request)
    return refused.value, watched.asked


GOOD_LINE = ReserveLine(sku="A", location="B", quantity=1)
BAD_LINE = ReserveLine(sku="A", location="B")
QUANTITY = "must be greater than 0 and less than or equal to 1000000000"


def reserve(*lines: ReserveLine) -> ReserveStockRequest:
    return ReserveStockRequest(request_id="r1", lines=lines)


def batch(entries: int, lines: list[ReserveLine]) -> BatchReserveStockRequest:
    return BatchReserveStockRequest(request_id="r1", reservations=[ReserveEntry(lines=lines)] * entries)


def both_expiries() -> ReserveStockRequest:
    request = reserve(GOOD_LINE)
    request.ttl.seconds = request.expire_time.seconds = 60
    return request


ROWS: list[tuple[str, Any, list[bool], int, str]] = [
    # case, request, how it is searched, faults named, what is said
    ("one fault", reserve(GOOD_LINE, BAD_LINE), [True, False], 1, f"lines[1].quantity: {QUANTITY}"),
    ("thirty", reserve(*[BAD_LINE] * 30), [True, False], 25, f"lines[0].quantity: {QUANTITY} (and 29 more)"),
    ("as many as are searched", reserve(*[BAD_LINE] * ELEMENTS_MAX), [True, False], 25,
     f"lines[0].quantity: {QUANTITY} (and {ELEMENTS_MAX - 1} more)"),
    ("one more", reserve(*[BAD_LINE] * (ELEMENTS_MAX + 1)), [True], 1,
     f"lines[0].quantity: {QUANTITY} (and perhaps more)"),
    ("more within entries", batch(26, [BAD_LINE] * 9), [True], 1,
     f"reservations[0].lines[0].quantity: {QUANTITY} (and perhaps more)"),
    ("too many", reserve(*[BAD_LINE] * 1001), [], 1, "lines: must contain no more than 1000 item(s)"),
    ("too many, and another fault before", ReserveStockRequest(lines=[BAD_LINE] * 100_000), [], 1,
     "lines: must contain no more than 1000 item(s)"),
    ("a rule of the whole", both_expiries(), [True, False], 1, "ttl: ttl and expire_time exclude each other"),
    ("too many within an entry", batch(1, [GOOD_LINE] * 1001), [True], 1,
     "reservations[0].lines: must contain no more than 1000 item(s) (and perhaps more)"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "asked", "named", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_search_for_faults_is_bounded(given: Any, asked: list[bool], named: int, said: str) -> None:
    error, seen = refusal(given)
    assert (error.message, len(error.violations), seen) == (said, named, asked)
    assert error.message.startswith(f"{error.violations[0].field}: {error.violations[0].description}")


def test_good_request_is_looked_at_once() -> None:
    watched: Any = Watched()
    policy = next(iter(read_policies([SERVICE]).values()))
    validation = Validation(policy, ReserveStockRequest, watched)
    watched.asked.clear()
    validation.check(reserve(GOOD_LINE))
    assert watched.asked == [True]


def test_entries_of_maps_and_what_they_hold_count_too() -> None:
    sku = Sku(sku="A", attributes={str(number): "x" for number in range(60)})
    for skus, asked in ((3, [True, False]), (5, [True])):
        assert refusal(BatchUpsertSkusRequest(skus=[sku] * skus))[1] == asked


def bounded_fields() -> list[tuple[Any, FieldDescriptor]]:
    """Every list and map of the mesh's requests and answers with a bound up to 1,000; more cost seconds."""
    types = {each.DESCRIPTOR.full_name: each.DESCRIPTOR for each in MESSAGES}
    waiting = list(types.values())
    while waiting:
        for field in waiting.pop().fields:
            if field.message_type is not None and field.message_type.full_name not in types:
                types[field.message_type.full_name] = field.message_type
                waiting.append(field.message_type)
    fields = (field for each in types.values() for field in each.fields)
    bounds = ((field, count_bound(field)) for field in fields)
    return [
        (GetMessageClass(each.containing_type), each) for each, bound in bounds if bound and bound.entries_max <= 1000
    ]


@pytest.mark.parametrize(("message_class", "field"), bounded_fields(), ids=lambda each: getattr(each, "full_name", ""))
def test_too_many_entries_are_told_in_the_validators_own_words(message_class: Any, field: FieldDescriptor) -> None:
    bound = count_bound(field)
    assert bound is not None
    message = message_class()
    entries = getattr(message, field.name)
    for number in range(bound.entries_max + 1):
        if field.message_type is None:
            entries.append("x" if field.type == FieldDescriptor.TYPE_STRING else 1)
        elif field.message_type.GetOptions().map_entry:
            entries[str(number)] = "x"
        else:
            entries.add()
    found = Validator().collect_violations(message)
    said = {each.proto.message for each in found if each.proto.rule_id in {"repeated.max_items", "map.max_pairs"}}
    assert said == {bound.refusal}
