"""What the contract's comments say that RPCs fail with, held against the errors that there are."""

from __future__ import annotations

import re
import sys

import pytest

from docs import build
from edge_gateway.rest.descriptions import read_descriptions
from edge_gateway.rest.reachable import KINDS, PLATFORM, named_reasons
from meshkit.core.errors import Kind, MeshError
from meshkit.rpc.options import Idempotency, read_policies
from tests.edge.rest.messages import SERVICES

SAID = read_descriptions()
RPCS = [method for service in SERVICES for method in service.methods]


def every_error() -> set[tuple[str, Kind]]:
    """Reason and kind of each class, of whichever service; none has two kinds."""
    build.pages()  # imports every module
    waiting, found = [MeshError], set()
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        is_written = getattr(sys.modules[each.__module__], each.__name__, None) is each  # not made for one off the wire
        if is_written and each.__module__.split(".")[0] in build.PACKAGES:
            found.add((each.reason, each.kind))
    return found


def test_edge_knows_the_kind_of_every_reason_that_there_is() -> None:
    at_start = {("SCHEMA_TOO_OLD", Kind.UNAVAILABLE)}  # of a process that does not start; no RPC fails with it
    assert set(KINDS.items()) == every_error() - at_start


@pytest.mark.parametrize("rpc", RPCS, ids=lambda each: each.full_name)
def test_rpc_names_only_reasons_that_exist(rpc: object) -> None:
    name = getattr(rpc, "full_name", "")
    assert [reason for reason in named_reasons(SAID[name]) if reason not in KINDS] == []


def test_rpc_that_is_repeated_by_its_id_says_that_the_id_may_be_reused_and_no_other_does() -> None:
    policies = read_policies(SERVICES).values()
    by_id = {each.name.replace("/", ".") for each in policies if each.idempotency is Idempotency.BY_REQUEST_ID}
    assert {rpc.full_name for rpc in RPCS if "REQUEST_ID_REUSED" in named_reasons(SAID[rpc.full_name])} == by_id


def test_services_name_the_reasons_of_the_platform_that_the_edge_takes_for_granted() -> None:
    for service in {rpc.containing_service.full_name for rpc in RPCS}:
        said = re.search(r"the platform's own reasons: ([^.]*)\.", re.sub(r"\([^()]*\)", "", SAID[service]))
        assert said is not None, service
        assert {each.strip() for each in said[1].split(",")} - {"STALE_FENCE"} == {*PLATFORM}, service


def test_reasons_are_read_without_what_is_said_by_the_way() -> None:
    comment = "Sells. Fails with `A_B`, C (naming `d.e`, all),\nF_G.\nNot with H."
    assert named_reasons(comment) == ["A_B", "C", "F_G"]
    assert named_reasons("Sells.") == []
