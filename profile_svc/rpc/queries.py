"""The RPCs that read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.profile.v1 import profile_pb2
from meshkit.log.visibility import LogVisibility
from meshkit.rpc.call import Call
from meshkit.rpc.paging import page_position, page_token
from profile_svc.errors import UnknownProfile
from profile_svc.store.queries import read_profile, read_profile_page, read_purchases
from profile_svc.usecases.verify_profiles import verify_profiles
from profile_svc.wire import replies
from profile_svc.wire.messages import noun, profile_message, purchase_message

PAGE_ROWS_DEFAULT: Final = 100
_AFTER_ALL: Final = 2**63 - 1
"""No revision is later."""


class QueryRpcs:
    """The half of the servicer that reads."""

    def __init__(self, *, engine: AsyncEngine, visibility: LogVisibility) -> None:
        """Reads through `engine`, which must not be a replica: revisions are the primary's."""
        self._engine = engine
        self._visibility = visibility

    async def GetProfile(self, request: profile_pb2.GetProfileRequest, call: Call) -> profile_pb2.GetProfileResponse:
        """One profile."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        profile, revision = await read_profile(self._engine, request.profile_id)
        if profile is None:
            raise _unknown(request.profile_id)
        return profile_pb2.GetProfileResponse(profile=profile_message(profile), revision=revision)

    async def ListProfiles(
        self, request: profile_pb2.ListProfilesRequest, call: Call
    ) -> profile_pb2.ListProfilesResponse:
        """Profiles by id."""
        position = page_position(request, request.page_token, str)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        rows_max = request.page_size or PAGE_ROWS_DEFAULT
        profiles, revision = await read_profile_page(
            self._engine, tag=request.tag, after=position[0] if position else "", rows_max=rows_max + 1
        )
        more = len(profiles) > rows_max
        return profile_pb2.ListProfilesResponse(
            profiles=[profile_message(each) for each in profiles[:rows_max]],
            next_page_token=page_token(request, [profiles[rows_max - 1].profile_id]) if more else "",
            revision=revision,
        )

    async def GetProfileFacts(
        self, request: profile_pb2.GetProfileFactsRequest, call: Call
    ) -> profile_pb2.GetProfileFactsResponse:
        """What conditions of promotions may ask for, of whomever."""
        await self._visibility.wait_for(request.min_revision, call.deadline)
        return replies.facts(*await read_profile(self._engine, request.profile_id))

    async def ListPurchases(
        self, request: profile_pb2.ListPurchasesRequest, call: Call
    ) -> profile_pb2.ListPurchasesResponse:
        """A profile's purchases, newest first. Who may see certain channels only sees the purchases made there."""
        if request.channel:
            call.principal.require_channel(request.channel)
        position = page_position(request, request.page_token, int)
        await self._visibility.wait_for(request.min_revision, call.deadline)
        page = await read_purchases(
            self._engine,
            request.profile_id,
            sku=request.sku,
            channels=[request.channel] if request.channel else sorted(call.principal.channels),
            before=position[0] if position else _AFTER_ALL,
            rows_max=request.page_size or PAGE_ROWS_DEFAULT,
        )
        if not page.known:
            raise _unknown(request.profile_id)
        return profile_pb2.ListPurchasesResponse(
            purchases=[purchase_message(each) for each in page.purchases],
            next_page_token=page_token(request, [page.purchases[-1].revision]) if page.more else "",
            revision=page.revision,
        )

    async def VerifyProfiles(
        self, request: profile_pb2.VerifyProfilesRequest, call: Call
    ) -> AsyncIterator[profile_pb2.VerifyProfilesResponse]:
        """Checks log and projections, saying what it finds as it goes."""
        del request, call
        async for step in verify_profiles(self._engine, message_of=noun):
            yield replies.verify_step(step)


def _unknown(profile_id: str) -> UnknownProfile:
    return UnknownProfile(f"unknown profile {profile_id}", metadata={"profile_id": profile_id})
