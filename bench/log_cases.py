"""The log's cases: reservations against an echo, group commit, batches, the watch stream. By gRPC, without an edge."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from statistics import median
from typing import Final

from bench.jobs import LoadProcess
from bench.result import Result, Windows, ratio
from bench.sizes import Sizes
from bench.stack import Stack
from bench.usage import Meter

SKUS: Final = 10_000
BATCH_RESERVATIONS: Final = 1_000


class LogCases:
    """The cases, one method each."""

    def __init__(self, stack: Stack, sizes: Sizes, load: LoadProcess, followers: LoadProcess) -> None:
        self._stack = stack
        self._sizes = sizes
        self._load = load
        self._followers = followers
        self._pids = {**stack.pids, "client": load.pid, "followers": followers.pid}

    @property
    def all(self) -> Sequence[Callable[[], Awaitable[Sequence[Result]]]]:
        """In the order in which they run."""
        return (
            self.flush,
            partial(self.reserve, 1, "ReserveStock, one hot SKU / echo"),
            partial(self.reserve, SKUS, f"ReserveStock, {SKUS:,} SKUs / echo"),
            self.group_commit,
            self.batch_reserve,
            self.availability,
            self.stream,
            self.disk,
        )

    async def prepare(self) -> None:
        """Fills both logs with the same SKUs."""
        for address in (self._stack.grouped, self._stack.single):
            await self._load.do("prepare", address=address, token=self._stack.token, skus=SKUS)

    async def flush(self) -> Sequence[Result]:
        """What one durable commit costs on this disk."""
        answer = await self._load.do("flush", bare_url=self._stack.bare_url, calls=self._sizes.flushes)
        return [Result("one durable commit, no service", 1e3 * median(answer["seconds"]), "ms")]

    async def reserve(self, skus: int, case: str) -> Sequence[Result]:
        """Durable reservations against an echo of the same messages through the same interceptors."""
        before = await self._batches()
        ours, theirs = await self._in_turns(("reserve", self._stack.grouped, skus), ("echo", self._stack.echo, skus))
        commands, batches = (new - old for new, old in zip(await self._batches(), before, strict=True))
        more = f"; {commands / batches:,.0f} commands a batch"
        return [ratio(case, ours, theirs, "echo", aim=0.5, more=more)]

    async def _batches(self) -> tuple[float, float]:
        """How many commands in how many batches the grouped log has committed so far."""
        url = f"{self._stack.grouped_admin}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())  # noqa: S310  # our own process
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return float(values["log_batch_commands_sum"]), float(values["log_batch_commands_count"])

    async def group_commit(self) -> Sequence[Result]:
        """The same server with batches, and with one command a transaction."""
        ours, theirs = await self._in_turns(("reserve", self._stack.grouped, 1), ("reserve", self._stack.single, 1))
        return [ratio("group commit / one command a transaction", ours, theirs, "single", aim=10)]

    async def batch_reserve(self) -> Sequence[Result]:
        """`BatchReserveStock` against one bare transaction that writes the same rows."""
        stack, calls = self._stack, self._sizes.batch_calls
        ours, bare = [], []
        meter = Meter(self._pids)
        usage: dict[str, int] = {}
        for number in range(self._sizes.rounds + 1):
            meter.percent()
            one = await self._load.do(
                "batch", address=stack.grouped, token=stack.token, reservations=BATCH_RESERVATIONS, calls=calls
            )
            usage = meter.percent()
            other = await self._load.do(
                "bare",
                grouped_url=stack.grouped_url,
                bare_url=stack.bare_url,
                reservations=BATCH_RESERVATIONS,
                calls=calls,
            )
            if number:  # the first round warms both up
                ours.append(BATCH_RESERVATIONS / median(one["seconds"]))
                bare.append(BATCH_RESERVATIONS / median(other["seconds"]))
        case = f"BatchReserveStock of {BATCH_RESERVATIONS:,} / the same rows, bare"
        return [ratio(case, Windows(ours, usage), Windows(bare, {}), "bare", aim=0.5)]

    async def stream(self) -> Sequence[Result]:
        """How old a change is when each of many subscribers has it, at a steady rate of commands."""
        stack, sizes = self._stack, self._sizes
        await self._followers.tell(
            job="watch", address=stack.grouped, token=stack.token, streams=sizes.streams, channels=4
        )
        await self._followers.hear()  # all streams are open
        meter = Meter(self._pids)
        sent = await self._load.do(
            "steady",
            address=stack.grouped,
            token=stack.token,
            skus=SKUS,
            per_second=sizes.commands_per_second,
            seconds=sizes.stream_seconds,
        )
        usage = meter.percent()
        await self._followers.tell(revision=sent["revision"])
        seen = await self._followers.hear()
        expected = round(sizes.commands_per_second * sizes.stream_seconds) * sizes.streams
        detail = (
            f"p50 {seen['p50_ms']} ms; {sizes.streams} streams, {sent['per_second']:,.0f} commands/s answered in"
            f" p50 {sent['p50_ms']} / p99 {sent['p99_ms']} ms; {seen['deltas']:,} of {expected:,} deltas came"
        )
        p99 = seen["p99_ms"]
        case = "commit (its record time) → subscriber, p99"
        return [Result(case, p99, "ms", "≤ 20", p99 <= 20, detail, usage)]

    async def availability(self) -> Sequence[Result]:
        """`GetAvailability`, one SKU a call."""
        rounds = self._sizes.rounds // 2 + 1
        windows = await self._windows(("availability", self._stack.grouped, SKUS), rounds=rounds)
        per_second = median(windows.per_second)
        return [Result("GetAvailability", per_second, "/s", detail=windows.range(), cpu_percent=windows.cpu)]

    async def disk(self) -> Sequence[Result]:
        """What all of that has left on disk."""
        used = self._stack.disk_mib()
        return [Result("disk used", used, "MiB", "< 2048", used < 2048)]

    async def _in_turns(self, one: _Call, other: _Call) -> tuple[Windows, Windows]:
        ours, theirs = Windows([], {}), Windows([], {})
        for _ in range(self._sizes.rounds):
            ours += await self._windows(one, rounds=1)
            theirs += await self._windows(other, rounds=1)
        return ours, theirs

    async def _windows(self, call: _Call, *, rounds: int) -> Windows:
        what, address, skus = call
        sizes = self._sizes
        per_second = []
        meter = Meter(self._pids)
        for _ in range(rounds):
            answer = await self._load.do(
                "rate",
                what=what,
                address=address,
                token=self._stack.token,
                skus=skus,
                clients=sizes.clients,
                warm_seconds=sizes.warm_seconds,
                seconds=sizes.window_seconds,
            )
            per_second.append(answer["per_second"])
        return Windows(per_second, meter.percent())


_Call = tuple[str, str, int]
"""What to call, where, over how many SKUs."""
