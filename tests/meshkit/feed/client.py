"""A client of the feed that keeps all it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import text

from beautymesh.inventory.v1.watch_pb2 import WatchStockResponse
from meshkit.log.model import EventRow
from meshkit.log.reader import EVENT_COLUMNS, event_row
from tests.meshkit.feed.guarantees import Trace
from tests.meshkit.feed.tally import ALL, Keys, Process

FOLLOW_SECONDS_MAX: Final = 120.0


@dataclass
class Client:
    """Connects again and again, each time where it stopped."""

    selection: Keys = ALL
    with_snapshot: bool = True
    every_revision: bool = False
    messages: list[WatchStockResponse] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """The messages as they came, to compare identities."""

    @property
    def covers_to(self) -> int:
        return self.messages[-1].position.covers_to if self.messages else 0

    @property
    def in_snapshot(self) -> bool:
        return bool(self.messages) and self.messages[-1].WhichOneof("body") == "snapshot"

    async def follow(
        self,
        process: Process,
        *,
        stop: Callable[[Client], bool],
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """One connection, until `stop` says so after a message, or the server does. It pauses after each message."""
        token = self.messages[-1].position.resume_token if self.messages else ""
        stream = process.feed.subscribe(
            self.selection,
            resume_token=token,
            with_snapshot=self.with_snapshot,
            every_revision=self.every_revision,
        )
        async with aclosing(stream), asyncio.timeout(FOLLOW_SECONDS_MAX):
            async for message in stream:
                self.sent.append(message)
                self.messages.append(WatchStockResponse.FromString(message))
                if stop(self):
                    return
                await (pause() if pause is not None else asyncio.sleep(0))

    async def follow_to(self, process: Process, revision: int) -> None:
        """One connection, up to a revision that the stream can prove to have reached."""
        await self.follow(process, stop=lambda client: not client.in_snapshot and client.covers_to >= revision)

    def trace(self, log: list[EventRow]) -> Trace:
        """For the validators."""
        return Trace(self.messages, self.selection, log)

    def bodies(self) -> list[str | None]:
        """The kinds of messages, in order."""
        return [message.WhichOneof("body") for message in self.messages]


async def whole_log(process: Process) -> list[EventRow]:
    """Every event."""
    async with process.engine.connect() as connection:
        rows = await connection.execute(text(f"SELECT {EVENT_COLUMNS} FROM log_event ORDER BY revision, index"))
        return [event_row(row) for row in rows]
