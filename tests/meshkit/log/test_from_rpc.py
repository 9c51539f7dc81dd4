"""Who may speak for a saga: services of the mesh, under request ids that nobody else can take."""

from __future__ import annotations

import pytest

from beautymesh.common.v1 import context_pb2
from beautymesh.profile.v1 import profile_pb2, service_pb2
from meshkit.core.errors import InvalidRequest
from meshkit.core.principal import Principal
from meshkit.log.from_rpc import command_from, step_request_id
from meshkit.log.model import Fence
from meshkit.rpc.call import Call
from meshkit.rpc.options import read_policies

SERVICE = service_pb2.DESCRIPTOR.services_by_name["ProfileService"]
POLICY = read_policies([SERVICE])[f"/{SERVICE.full_name}/UpsertProfile"]

SHOP = Principal("user:shop", "client:shop", frozenset())
EDGE_FOR_SHOP = Principal("user:shop", "client:shop", frozenset(), via="service:edge")
EDGE = Principal("service:edge", "service:edge", frozenset())

IN_SAGA = context_pb2.CommandContext(saga=context_pb2.SagaFence(saga_id="s", fence=7))
ALONE = context_pb2.CommandContext(reference="basket")


def fence_of(who: Principal, request_id: str, context: context_pb2.CommandContext | None) -> Fence | None:
    request = profile_pb2.UpsertProfileRequest(request_id=request_id, profile_id="ann", context=context)
    return command_from(request, Call(POLICY, who, None, "", "", None), None, key=b"key").fence


@pytest.mark.parametrize(
    ("who", "request_id", "context", "fence"),
    [
        (SHOP, "r", None, None),
        (SHOP, "r", ALONE, None),
        (EDGE_FOR_SHOP, "r", ALONE, None),
        (EDGE_FOR_SHOP, step_request_id("c", "hold"), IN_SAGA, Fence("s", 7)),
        (EDGE, step_request_id("c", "hold"), IN_SAGA, Fence("s", 7)),
    ],
)
def test_a_service_may_speak_for_a_saga(
    who: Principal, request_id: str, context: context_pb2.CommandContext | None, fence: Fence | None
) -> None:
    assert fence_of(who, request_id, context) == fence


@pytest.mark.parametrize(
    ("who", "request_id", "context", "field"),
    [
        (SHOP, "r", IN_SAGA, "context.saga"),
        (SHOP, step_request_id("c", "hold"), None, "request_id"),
        (EDGE_FOR_SHOP, step_request_id("c", "hold"), ALONE, "request_id"),
    ],
)
def test_nobody_else_may(
    who: Principal, request_id: str, context: context_pb2.CommandContext | None, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fence_of(who, request_id, context)
    assert [each.field for each in refused.value.violations] == [field]
