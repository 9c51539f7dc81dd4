"""The contract must be complete, and so must its implementation."""

from __future__ import annotations

from typing import Final

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from beautymesh.inventory.v1 import inventory_pb2
from beautymesh.options.v1 import options_pb2
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.options import MESSAGE_BYTES_MAX, Cache, ContractFault, Idempotency, read_policies
from meshkit.rpc.server import MeshServer
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.meshkit.rpc.echo import ECHO, rpc_options, service_of

READ: Final = options_pb2.IDEMPOTENCY_READ_ONLY


def test_policy_says_what_the_contract_says() -> None:
    policy = read_policies([inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]])[
        "/beautymesh.inventory.v1.InventoryService/ReserveStock"
    ]
    assert policy.scopes == {"inventory.reserve"}
    assert policy.public is False
    assert policy.idempotency is Idempotency.BY_REQUEST_ID
    assert policy.cache is Cache.NONE
    assert policy.body_limit_bytes == 262144
    assert policy.latency_objective_seconds == 0.025
    assert policy.server_streaming is False


def test_body_limit_left_out_is_the_servers_own() -> None:
    assert read_policies([ECHO])[f"/{ECHO.full_name}/Greet"].body_limit_bytes == MESSAGE_BYTES_MAX


@pytest.mark.parametrize(
    ("package", "options", "fault"),
    [
        ("none", MethodOptions(), "Bad needs either scopes or public: true"),
        ("both", rpc_options(public=True, scopes=["a"], idempotency=READ), "Bad needs either scopes or public: true"),
        ("repeat", rpc_options(scopes=["a"]), "Bad does not say whether it is idempotent"),
        ("cache", rpc_options(scopes=["a"], idempotency=READ, cache=2), "Bad lets any cache keep an answer that"),
        ("limit", rpc_options(scopes=["a"], idempotency=READ, body_limit_bytes=2**25), "Bad has a body limit outside"),
    ],
)
def test_incomplete_contract_stops_the_start_and_is_named(package: str, options: MethodOptions, fault: str) -> None:
    service = service_of(f"meshtest.{package}.v1", [("Bad", False, options)])
    with pytest.raises(ContractFault, match=f"meshtest.{package}.v1.EchoService/{fault}"):
        read_policies([service])


class _Unfinished:
    """Echo is missing, Greet is not async, Follow is no generator."""

    def Greet(self) -> None: ...

    async def Follow(self) -> None: ...


def test_servicer_without_a_method_stops_the_start_and_all_are_named() -> None:
    metrics = Metrics()
    with pytest.raises(ContractFault) as raised:
        MeshServer(
            [(ECHO, _Unfinished())],
            listen="127.0.0.1:0",
            interceptors=Interceptors(verifier=None, metrics=metrics, tracing=Tracing()),
            health=Health(services=(), checks={}, metrics=metrics),
        )
    assert str(raised.value).splitlines()[1:] == [
        "  meshtest.echo.v1.EchoService/Echo: _Unfinished.Echo is missing",
        "  meshtest.echo.v1.EchoService/Greet: _Unfinished.Greet is not an async method",
        "  meshtest.echo.v1.EchoService/Follow: _Unfinished.Follow is not an async generator",
    ]
