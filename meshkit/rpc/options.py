"""What the contract demands of each RPC, read from the service descriptors.

The options stand in `protos/beautymesh/options/v1/options.proto`. An RPC that does not say who may call it, or whether
it may be repeated, is a fault of ours: the server refuses to start and names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor

from beautymesh.options.v1 import options_pb2

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest message that servers and channels of the mesh accept, in either direction."""

OPEN_SERVICES: Final = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"}
)
"""Services of others that carry none of our options and need no token: probes and tools have none."""


class Idempotency(Enum):
    """Whether a call may be repeated without a second effect."""

    READ_ONLY = "read_only"
    BY_REQUEST_ID = "by_request_id"


class Cache(Enum):
    """Who may keep an answer."""

    NONE = "none"
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class RpcPolicy:
    """What the platform enforces for one RPC.

    `full_method` is the path on the wire (`/package.Service/Method`), `name` the same without the leading slash, as
    metrics and spans say it. `latency_objective_seconds` is 0 where none is promised.
    """

    full_method: str
    name: str
    service: str
    scopes: frozenset[str]
    public: bool
    idempotency: Idempotency
    cache: Cache
    body_limit_bytes: int
    latency_objective_seconds: float
    server_streaming: bool


class ContractFault(Exception):
    """The contract or its implementation is incomplete; the message names every RPC and what it lacks."""


_IDEMPOTENCY: Final = {
    options_pb2.IDEMPOTENCY_READ_ONLY: Idempotency.READ_ONLY,
    options_pb2.IDEMPOTENCY_BY_REQUEST_ID: Idempotency.BY_REQUEST_ID,
}
_CACHE: Final = {
    options_pb2.CACHE_POLICY_UNSPECIFIED: Cache.NONE,
    options_pb2.CACHE_POLICY_PRIVATE: Cache.PRIVATE,
    options_pb2.CACHE_POLICY_PUBLIC: Cache.PUBLIC,
}


def read_policies(services: Iterable[ServiceDescriptor]) -> dict[str, RpcPolicy]:
    """The policy of every RPC of these services, by `full_method`.

    Raises:
        ContractFault: naming every RPC at fault, all at once.
    """
    policies: dict[str, RpcPolicy] = {}
    faults: list[str] = []
    for service in services:
        for method in service.methods:
            found = [] if service.full_name in OPEN_SERVICES else list(_faults(method))
            if found:
                faults.extend(f"{service.full_name}/{method.name} {fault}" for fault in found)
            else:
                policy = _policy(service, method)
                policies[policy.full_method] = policy
    if faults:
        raise ContractFault("the contract is incomplete:\n  " + "\n  ".join(faults))
    return policies


def _policy(service: ServiceDescriptor, method: MethodDescriptor) -> RpcPolicy:
    is_open = service.full_name in OPEN_SERVICES
    options = method.GetOptions().Extensions[options_pb2.rpc]
    return RpcPolicy(
        full_method=f"/{service.full_name}/{method.name}",
        name=f"{service.full_name}/{method.name}",
        service=service.full_name,
        scopes=frozenset(options.scopes),
        public=is_open or options.public,
        idempotency=Idempotency.READ_ONLY if is_open else _IDEMPOTENCY[options.idempotency],
        cache=_CACHE[options.cache],
        body_limit_bytes=options.body_limit_bytes or MESSAGE_BYTES_MAX,
        latency_objective_seconds=options.latency_objective.ToNanoseconds() / 1e9,
        server_streaming=method.server_streaming,
    )


def _faults(method: MethodDescriptor) -> Iterator[str]:
    options = method.GetOptions().Extensions[options_pb2.rpc]
    if bool(options.scopes) == options.public:
        yield "needs either scopes or public: true"
    if options.idempotency not in _IDEMPOTENCY:
        yield "does not say whether it is idempotent"
    if options.cache == options_pb2.CACHE_POLICY_PUBLIC and not options.public:
        yield "lets any cache keep an answer that needs a scope"
    if not 0 <= options.body_limit_bytes <= MESSAGE_BYTES_MAX:
        yield f"has a body limit outside 0…{MESSAGE_BYTES_MAX} bytes"
    if method.client_streaming:
        yield "streams requests, which servers of the mesh do not offer"


def is_internal(field: FieldDescriptor) -> bool:
    """Whether the field is for services of the mesh only: for callers of the edge it does not exist."""
    internal: bool = field.GetOptions().Extensions[options_pb2.internal]
    return internal
