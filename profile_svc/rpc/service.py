"""Every RPC of `beautymesh.profile.v1.ProfileService` in one object."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.profile.v1 import service_pb2
from meshkit.log.visibility import LogVisibility
from profile_svc.rpc.commands import CommandRpcs
from profile_svc.rpc.queries import QueryRpcs
from profile_svc.store.log import ProfileWriter

DESCRIPTOR = service_pb2.DESCRIPTOR.services_by_name["ProfileService"]


class ProfileServicer(CommandRpcs, QueryRpcs):
    """Writes through the log, reads from the projections."""

    def __init__(
        self,
        *,
        writer: ProfileWriter,
        fingerprint_key: bytes,
        new_id: Callable[[], str],
        engine: AsyncEngine,
        visibility: LogVisibility,
    ) -> None:
        """Hands its parts to the two kinds of RPC."""
        CommandRpcs.__init__(self, writer=writer, fingerprint_key=fingerprint_key, new_id=new_id)
        QueryRpcs.__init__(self, engine=engine, visibility=visibility)
