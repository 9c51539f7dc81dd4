"""A profile service that knows one fact about everybody: the seam to another service, served by a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from beautymesh.profile.v1 import profile_pb2, service_pb2
from meshkit.rpc.call import Call
from meshkit.rpc.health import Health
from meshkit.rpc.interceptors import Interceptors
from meshkit.rpc.server import MeshServer
from meshkit.rpc.tokens import Keys, TokenVerifier
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.processes import ISSUER

PROFILE = service_pb2.DESCRIPTOR.services_by_name["ProfileService"]


class ProfileDouble:
    """Answers facts; `callers` says on whose behalf it was asked, and for whom."""

    def __init__(self) -> None:
        self.callers: list[tuple[str, str]] = []

    async def GetProfileFacts(
        self, request: profile_pb2.GetProfileFactsRequest, call: Call
    ) -> profile_pb2.GetProfileFactsResponse:
        self.callers.append((call.principal.subject, request.profile_id))
        tags = ["gold"] if request.profile_id.startswith("gold") else []
        return profile_pb2.GetProfileFactsResponse(known=True, tags=tags, order_count=1)

    async def unused(self, request: object, call: Call) -> object:
        """Every other RPC of the contract."""
        raise AssertionError(request)

    async def stream(self, request: object, call: Call) -> AsyncIterator[object]:
        """Every other stream of the contract."""
        if request is not None:
            raise AssertionError(request)
        yield request


for method in PROFILE.methods:
    if not hasattr(ProfileDouble, method.name):
        unused = ProfileDouble.stream if method.server_streaming else ProfileDouble.unused
        setattr(ProfileDouble, method.name, unused)


@contextlib.asynccontextmanager
async def profile_service(keys: Keys) -> AsyncIterator[tuple[str, ProfileDouble]]:
    """The double behind a real server that checks tokens and scopes: its target and itself."""
    servicer, metrics = ProfileDouble(), Metrics()
    interceptors = Interceptors(
        verifier=TokenVerifier(keys.jwks_file, issuer=ISSUER),
        metrics=metrics,
        tracing=Tracing(),
        deadline_seconds_default=10.0,
        deadline_margin_seconds=0.002,
    )
    health = Health(services=(PROFILE.full_name,), checks={}, metrics=metrics)
    server = MeshServer([(PROFILE, servicer)], listen="127.0.0.1:0", interceptors=interceptors, health=health)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}", servicer
    finally:
        await server.drain(wait_seconds=0.0, grace_seconds=0.0)
