"""Availability without a hop: the edge's own answers to inventory's reads, and to the storefront's.

They have the service's shape. `revision` of one availability is that of its last change, because the body must stay the
same for as long as its entity tag does; the service's own answer, which is read anew, may name a later one at which the
same holds. Several availabilities are answered at one revision at which all of them hold, else by the service.

The service's answer has memory's tag, so a caller may revalidate with `no-cache` what memory gave, and the other way
round. So one tag, a strong one, may have two bodies, which differ in that later `revision` only; If-None-Match, the one
header that is compared with it here, compares weakly and does not mind.

`Age` is the time since inventory's last message, 0 where all was fetched. `Cache-Status` (RFC 9211) says where an
answer comes from: `hit`, `fwd=uri-miss` if anything was fetched, and with a negative `ttl` that nothing keeps the
memory fresh at the moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar, cast

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from beautymesh.edge.v1 import service_pb2, storefront_pb2
from beautymesh.inventory.v1 import availability_pb2, inventory_pb2
from edge_gateway.clients.availability import DEFAULT_CHANNEL, AvailabilityCache
from edge_gateway.clients.entries import Entry, Unknown, entity_tag
from edge_gateway.clients.storefront import Shown, Storefront
from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.exchange import Answer, Exchange, Handler, UnaryHandler
from meshkit.rpc.interceptors.validation import Validation
from meshkit.rpc.options import read_policies

RequestT = TypeVar("RequestT", bound=Message)
HeaderPairs: TypeAlias = tuple[tuple[bytes, bytes], ...]

INVENTORY: Final = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"]
STOREFRONT: Final = service_pb2.DESCRIPTOR.services_by_name["StorefrontService"]
GET: Final = "/beautymesh.inventory.v1.InventoryService/GetAvailability"
BATCH_GET: Final = "/beautymesh.inventory.v1.InventoryService/BatchGetAvailability"
GET_STOREFRONT: Final = "/beautymesh.edge.v1.StorefrontService/GetStorefrontAvailability"

MISS: Final[HeaderPairs] = ((b"age", b"0"), (b"cache-status", b"beautymesh; fwd=uri-miss"))
PUBLIC: Final[HeaderPairs] = ((b"age", b"0"),)
"""A public answer says nothing of the stream while it lives: its age would fall with every sale, of whatever SKU, and
`hit` would say that somebody else has just looked."""


def availability_handlers(
    cache: AvailabilityCache, storefront: Storefront, remote: Mapping[str, Handler]
) -> dict[str, UnaryHandler]:
    """Handlers by full method that go before those of `remote`, which they fall back on."""
    get, batch_get = cast("UnaryHandler", remote[GET]), cast("UnaryHandler", remote[BATCH_GET])
    reads = CachedReads(cache, get=get, batch_get=batch_get)
    return {GET: reads.get, BATCH_GET: reads.batch_get, GET_STOREFRONT: StorefrontReads(cache, storefront).get}


class CachedReads:
    """Inventory's reads from memory, except what must be exact or has more than memory has: that the service answers.

    The contract's rules are checked here for what is not in memory: a fetch is shared, and one wrong name would have it
    refused for everybody.
    """

    def __init__(self, cache: AvailabilityCache, *, get: UnaryHandler, batch_get: UnaryHandler) -> None:
        """`get` and `batch_get` ask the service."""
        self._cache = cache
        self._remote_get = get
        self._remote_batch_get = batch_get
        self._validation = _validation(INVENTORY, "GetAvailability", availability_pb2.GetAvailabilityRequest)
        self._batch_validation = _validation(
            INVENTORY, "BatchGetAvailability", availability_pb2.BatchGetAvailabilityRequest
        )
        self._encode = Codecs().of(availability_pb2.GetAvailabilityResponse.DESCRIPTOR).encode
        self._freshness = _Freshness(cache)

    async def get(self, request: availability_pb2.GetAvailabilityRequest, exchange: Exchange) -> Message | Answer:
        """GetAvailability."""
        if exchange.no_cache or request.min_revision or request.include_levels:
            return await self._ask(request, exchange)
        sku, channel = request.sku, request.channel or DEFAULT_CHANNEL
        exchange.call.principal.require_channel(channel)
        entry = self._cache.find(sku, channel)
        if entry is not None:
            return Answer(entry.answer_json or self._keep_json(entry), self._freshness.headers(), entry.etag)
        self._validation.check(request)
        entry = await self._cache.get(sku, channel)
        return Answer(entry.answer_json or self._keep_json(entry), MISS, entry.etag)

    async def _ask(self, request: availability_pb2.GetAvailabilityRequest, exchange: Exchange) -> Message | Answer:
        """What the service says, with the tag that memory has for the same.

        Levels change without what is to be sold; and a log that went away meanwhile may not be the one that answered.
        """
        log_tag = self._cache.log_tag
        response = await self._remote_get(request, exchange)
        if request.include_levels or log_tag != self._cache.log_tag or isinstance(response, Answer):
            return response
        found = cast("availability_pb2.GetAvailabilityResponse", response).availability
        return Answer(response, etag=entity_tag(log_tag, found.revision, found.sellable))

    async def batch_get(
        self, request: availability_pb2.BatchGetAvailabilityRequest, exchange: Exchange
    ) -> Message | Answer:
        """BatchGetAvailability."""
        if exchange.no_cache or request.min_revision or request.include_levels:
            return await self._remote_batch_get(request, exchange)
        self._batch_validation.check(request)
        skus, channel = request.skus, request.channel or DEFAULT_CHANNEL
        exchange.call.principal.require_channel(channel)
        kept = self._cache.count_kept(skus, channel)
        found = await self._cache.get_many(skus, channel)
        revision = self._cache.cut(found)
        if revision is None:
            return await self._remote_batch_get(request, exchange)
        body = availability_pb2.BatchGetAvailabilityResponse(
            availabilities=[_availability(each) for each in found if isinstance(each, Entry)],
            unknown_skus=[each.sku for each in found if isinstance(each, Unknown)],
            revision=revision,
        )
        return Answer(body, self._freshness.headers(fetched=kept < len(skus)) if kept else MISS)

    def _keep_json(self, entry: Entry) -> bytes:
        response = availability_pb2.GetAvailabilityResponse(availability=_availability(entry), revision=entry.revision)
        entry.answer_json = self._encode(response)
        return entry.answer_json


class StorefrontReads:
    """The storefront's read, with what only HTTP has. No request of a stranger's gets past the memory at will."""

    def __init__(self, cache: AvailabilityCache, storefront: Storefront) -> None:
        """`storefront` is the view of `cache`."""
        self._cache = cache
        self._storefront = storefront
        self._validation = _validation(
            STOREFRONT, "GetStorefrontAvailability", storefront_pb2.GetStorefrontAvailabilityRequest
        )
        self._encode = Codecs().of(storefront_pb2.GetStorefrontAvailabilityResponse.DESCRIPTOR).encode
        self._freshness = _Freshness(cache)

    async def get(
        self, request: storefront_pb2.GetStorefrontAvailabilityRequest, _exchange: Exchange
    ) -> Message | Answer:
        """GetStorefrontAvailability."""
        headers = PUBLIC
        shown = self._storefront.find(request.sku, request.channel)
        if shown is None:
            self._validation.check(request)
            shown = await self._storefront.get(request.sku, request.channel)
        elif self._cache.is_broken:
            headers = self._freshness.headers()
        return Answer(shown.entry.storefront_json or self._keep_json(shown), headers, shown.etag)

    def _keep_json(self, shown: Shown) -> bytes:
        shown.entry.storefront_json = self._encode(shown.response())
        return shown.entry.storefront_json


class _Freshness:
    """The headers of an answer from memory; made anew once a second."""

    __slots__ = ("_cache", "_headers", "_said")

    def __init__(self, cache: AvailabilityCache) -> None:
        self._cache = cache
        self._said = (-1, False)
        self._headers: tuple[HeaderPairs, HeaderPairs] = ((), ())

    def headers(self, *, fetched: bool = False) -> HeaderPairs:
        """`fetched`: not all of it is from memory. What is from there makes it as old as the rest of the memory."""
        said = (int(self._cache.age_seconds), self._cache.is_broken)
        if said != self._said:
            age_seconds, is_broken = self._said = said
            suffix = f"; ttl={-age_seconds}; detail=STREAM_BROKEN" if is_broken else ""
            age = (b"age", str(age_seconds).encode())
            hit, miss = (f"beautymesh; {how}{suffix}".encode() for how in ("hit", "fwd=uri-miss"))
            self._headers = ((age, (b"cache-status", hit)), (age, (b"cache-status", miss)))
        return self._headers[fetched]


def _availability(entry: Entry) -> availability_pb2.Availability:
    return availability_pb2.Availability(
        sku=entry.sku, channel=entry.channel, sellable=entry.sellable, revision=entry.revision
    )


def _validation(service: ServiceDescriptor, method: str, request_class: type[RequestT]) -> Validation[RequestT]:
    policy = read_policies([service])[f"/{service.full_name}/{method}"]
    return Validation(policy, request_class, Validator())
