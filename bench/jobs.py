"""The processes that make the load, as the bench tells them what to do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any


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
        await self.tell(job=job, **arguments)
        return await self.hear()

    async def tell(self, **told: Any) -> None:  # noqa: ANN401  # JSON
        """Begins a job, or tells one that goes on what it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self) -> Any:  # noqa: ANN401  # JSON
        """What the process says next.

        Raises:
            RuntimeError: it has ended instead; why stands on its standard error.
        """
        assert self._process.stdout is not None
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the load process has ended in the midst of a job")
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
