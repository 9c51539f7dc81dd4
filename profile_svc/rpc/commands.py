"""The RPCs that change something: each becomes a command of the log kernel, whose reply goes out as it was stored."""

from __future__ import annotations

from collections.abc import Callable

from beautymesh.profile.v1 import profile_pb2
from meshkit.log.from_rpc import command_from
from meshkit.log.model import Command
from meshkit.rpc.call import Call
from profile_svc.domain.decide import Body
from profile_svc.store.log import ProfileWriter
from profile_svc.wire import requests


class CommandRpcs:
    """The half of the servicer that writes."""

    def __init__(self, *, writer: ProfileWriter, fingerprint_key: bytes, new_id: Callable[[], str]) -> None:
        """`fingerprint_key` is the log's own."""
        self._writer = writer
        self._fingerprint_key = fingerprint_key
        self._new_id = new_id

    async def UpsertProfile(self, request: profile_pb2.UpsertProfileRequest, call: Call) -> bytes:
        """Makes a profile known or replaces its tags."""
        body = requests.upsert_profile(request)
        return (await self._writer.submit(command_from(request, call, body, key=self._fingerprint_key))).reply

    async def RecordPurchase(self, request: profile_pb2.RecordPurchaseRequest, call: Call) -> bytes:
        """Records an order that a person paid for."""
        body = requests.record_purchase(request, self._new_id())
        call.principal.require_channel(body.channel)
        command: Command[Body] = command_from(request, call, body, key=self._fingerprint_key, weight=len(request.lines))
        command.occur_time = body.occur_time
        return (await self._writer.submit(command)).reply
