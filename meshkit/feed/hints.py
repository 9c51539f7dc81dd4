"""The wake-up between processes: "the log is at revision n now", over Valkey pub/sub.

A hint says nothing that the table does not, and may get lost at any time without a sign: the feed polls all the same.
So nobody waits for a hint to be sent, and nothing depends on its arrival but some milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from meshkit.feed.metrics import HINTS
from meshkit.telemetry.metrics import Metrics

_log = structlog.get_logger("meshkit.feed")

ANSWER_SECONDS_MAX = 1.0
RETRY_SECONDS = 0.5
HEALTH_CHECK_SECONDS = 5
"""After this much silence the connection is probed, so that one that is half dead does not look like a quiet log."""


class Hints(Protocol):
    """Carries revisions to the other processes of the service, perhaps."""

    def send(self, revision: int) -> None:
        """Says that the log is at a revision. Returns at once and never fails."""
        ...

    async def run(self, log_id: str, on_hint: Callable[[int], None]) -> None:
        """Works until cancelled; calls `on_hint` with what others have sent about this log."""
        ...


class NoHints:
    """For a service with neither Valkey nor Redis."""

    def send(self, revision: int) -> None:
        """Does nothing."""

    async def run(self, log_id: str, on_hint: Callable[[int], None]) -> None:
        """Does nothing, until cancelled."""
        del log_id, on_hint
        await asyncio.Event().wait()


class ValkeyHints:
    """Hints over pub/sub. While one is on its way, later ones are merged into the next."""

    def __init__(self, url: str, *, service: str, metrics: Metrics) -> None:
        """`url` as redis-py takes it (`redis://…`, `unix://…`)."""
        self._url = url
        self._service = service
        self._hints = metrics.counter(HINTS)
        self._revision = 0
        self._wake = asyncio.Event()

    def send(self, revision: int) -> None:
        """Says that the log is at a revision. Returns at once and never fails."""
        self._revision = max(self._revision, revision)
        self._wake.set()

    async def run(self, log_id: str, on_hint: Callable[[int], None]) -> None:
        """Works until cancelled. The channel is named after the log, so that deployments may share a server."""
        channel = f"beautymesh:feed:{self._service}:{log_id}"
        client = Redis.from_url(
            self._url,
            socket_connect_timeout=ANSWER_SECONDS_MAX,
            retry=Retry(NoBackoff(), retries=0),  # the loops below do that, and say so
            health_check_interval=HEALTH_CHECK_SECONDS,
        )
        async with client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(client, channel))
            tasks.create_task(self._listen(client, channel, on_hint))

    async def _send(self, client: Redis, channel: str) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await client.publish(channel, self._revision)
            except (RedisError, OSError, TimeoutError):
                self._hints.labels("lost").inc()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._hints.labels("sent").inc()

    async def _listen(self, client: Redis, channel: str, on_hint: Callable[[int], None]) -> None:
        connected = True
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(channel)
                    if not connected:
                        _log.info("feed.hints_back")
                    connected = True
                    while True:
                        message = await pubsub.get_message(timeout=HEALTH_CHECK_SECONDS)
                        if message is not None:
                            self._hints.labels("received").inc()
                            on_hint(int(message["data"]))
            except (RedisError, OSError, TimeoutError) as fault:
                if connected:  # once an outage, not once an attempt
                    _log.warning("feed.hints_gone", fault=type(fault).__name__)
                connected = False
            await asyncio.sleep(RETRY_SECONDS)
