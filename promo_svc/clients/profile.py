"""Asks the profile service what a condition may know of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import structlog

from beautymesh.profile.v1 import profile_pb2, service_pb2, service_pb2_grpc
from meshkit.core.errors import DeadlineExceeded, MeshError, Unavailable
from meshkit.rpc.channel import MeshChannel, grpc_channel
from meshkit.rpc.tokens import ServiceTokens
from meshkit.telemetry.metrics import Metrics
from promo_svc.domain.evaluate import ProfileFacts

if TYPE_CHECKING:
    Stub: TypeAlias = service_pb2_grpc.ProfileServiceAsyncStub  # exists for type checkers only

_log = structlog.get_logger(__name__)

SERVICE = service_pb2.DESCRIPTOR.services_by_name["ProfileService"]


class ProfileService:
    """The profile service, under promo's own token: a shop that prices a cart need not be allowed to read profiles."""

    def __init__(
        self, *, targets: str, tokens: ServiceTokens | None, metrics: Metrics | None, seconds_max: float
    ) -> None:
        """`targets` are `host:port` separated by commas; none, or no tokens, means that there is nobody to ask."""
        self._seconds_max = seconds_max
        self._channel: MeshChannel | None = None
        listed = [target.strip() for target in targets.split(",") if target.strip()]
        if listed and tokens is not None:
            self._channel = grpc_channel(
                listed, services=[SERVICE], token=lambda: tokens.token_for(None), metrics=metrics
            )
            self._stub: Stub = service_pb2_grpc.ProfileServiceStub(self._channel)

    async def facts(self, profile_id: str) -> ProfileFacts:
        """The facts as they are now. Never guessed: without them there is no price.

        Raises:
            Unavailable: nobody answers in time.
            DeadlineExceeded: the caller's own time is over.
        """
        if self._channel is None:
            raise Unavailable("the profile service is not configured here, and an offer asks for it")
        request = profile_pb2.GetProfileFactsRequest(profile_id=profile_id)
        try:
            found = await self._stub.GetProfileFacts(request, timeout=self._seconds_max)
        except MeshError as fault:
            _log.warning("profile.no_facts", reason=fault.reason)
            if isinstance(fault, DeadlineExceeded) and fault.__cause__ is None:
                raise  # there was no time to ask
            raise Unavailable("the profile service is not available, and an offer asks for it") from fault
        return ProfileFacts(found.known, tuple(found.tags), found.order_count)

    async def close(self) -> None:
        """Ends the connections."""
        if self._channel is not None:
            await self._channel.close()
