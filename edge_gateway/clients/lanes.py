"""Who waits for what is not in memory: each (SKU, channel) once, however many callers, and only so many of them.

What nobody awaits any more leaves the lane before it is fetched: a caller who goes away costs nothing after that.
"""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Final

from edge_gateway.clients.entries import Entry, Outcome, Unknown
from meshkit.core.errors import MeshError, TooManyRequests, Unavailable

FETCHED_SKUS_MAX: Final = 1_000
"""SKUs of one call, as its contract says."""


@dataclass(slots=True, eq=False)
class Wait:
    """One SKU of a channel, and how many callers await it. Each of them says `leave` once."""

    lane: Lane
    sku: str
    channel: str
    future: asyncio.Future[Outcome]
    callers: int = 0

    async def outcome(self) -> Entry | Unknown:
        """What the fetch gave.

        Raises:
            MeshError: it failed.
        """
        outcome = await asyncio.shield(self.future)  # whoever gives up must not end it for the others
        if isinstance(outcome, MeshError):
            raise copy(outcome)  # each raise adds to the traceback of its own
        return outcome

    def leave(self) -> None:
        """A caller has it, or has gone."""
        self.callers -= 1
        if self.callers == 0:
            self.lane.drop(self)


class Lane:
    """What is wanted, by channel, in the order in which the channels came; any number of tasks may take from it."""

    def __init__(self, *, waits_max: int) -> None:
        """`waits_max` bounds the (SKU, channel) pairs that are wanted or being fetched."""
        self._waits_max = waits_max
        self._open: dict[tuple[str, str], Wait] = {}
        """Those that a caller may still join: wanted, or being fetched by a call that is not outdated."""
        self._wanted: dict[str, dict[str, Wait]] = {}
        """Those that no call was made for yet. No channel is empty, so that strangers' channels take no room."""
        self._any_wanted = asyncio.Event()

    def join(self, sku: str, channel: str) -> Wait | None:
        """One more caller for what is awaited already; None if it is not."""
        wait = self._open.get((sku, channel))
        if wait is not None:
            wait.callers += 1
        return wait

    def enter(self, sku: str, channel: str) -> Wait:
        """The first caller for something.

        Raises:
            TooManyRequests: the lane is full.
        """
        if len(self._open) >= self._waits_max:
            raise TooManyRequests("too many SKUs that are not in memory are being asked for")
        wait = Wait(self, sku, channel, asyncio.get_running_loop().create_future(), callers=1)
        self._open[sku, channel] = self._wanted.setdefault(channel, {})[sku] = wait
        self._any_wanted.set()
        return wait

    def drop(self, wait: Wait) -> None:
        """Nobody awaits it. A call that is under way goes on: what it brings is kept."""
        wanted = self._wanted.get(wait.channel, {})
        if wanted.get(wait.sku) is wait:
            del wanted[wait.sku], self._open[wait.sku, wait.channel]
            if not wanted:
                del self._wanted[wait.channel]

    async def take(self) -> tuple[str, dict[str, Wait]]:
        """What one call is to bring: a channel and its SKUs. Whoever takes them settles them."""
        while not self._wanted:
            self._any_wanted.clear()
            await self._any_wanted.wait()
        channel = next(iter(self._wanted))
        wanted = self._wanted.pop(channel)
        rest = dict(islice(wanted.items(), FETCHED_SKUS_MAX, None))
        if rest:
            self._wanted[channel] = rest  # behind the other channels
        return channel, dict(islice(wanted.items(), FETCHED_SKUS_MAX))

    def settle(self, wait: Wait, outcome: Outcome) -> None:
        """Tells all who await it."""
        if self._open.get((wait.sku, wait.channel)) is wait:
            del self._open[wait.sku, wait.channel]
        if not wait.future.done():
            wait.future.set_result(outcome)

    def outdate(self) -> None:
        """From now on nobody joins what is being fetched."""
        self._open = {(wait.sku, wait.channel): wait for of in self._wanted.values() for wait in of.values()}

    def close(self) -> None:
        """Nothing more is fetched."""
        self._wanted.clear()
        for wait in tuple(self._open.values()):
            self.settle(wait, GONE)


GONE: Final = Unavailable("the edge is shutting down")
