"""Keeps children running: starts them in stages, restarts the dead with back-off, stops the stages in reverse.

    starting ── answers ──► running ── exits ──► waiting (back-off) ──► starting …
        └ does not answer in time, or exits again and again before it ever did ──► `ChildFailed`

Nobody but `Supervisor.stop` ends a child for good; it cancels the restarts of a stage before it signals it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from meshctl import child
from meshctl.child import ChildSpec
from meshctl.child_log import ChildLog
from meshctl.refusal import SetupRefused

BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0

STEADY_SECONDS = 10.0
"""A child that ran this long before it died is restarted as if it were the first time."""

FIRST_STARTS_MAX = 3
"""How often a child may exit before it has answered for the first time; then its fault is no accident."""

READY_POLL_SECONDS = 0.02


class ChildFailed(Exception):
    """A child never became ready; the message ends with the last lines it printed."""


class Supervisor:
    """The children of one `up`. Use it as a context: leaving it stops them all."""

    def __init__(self, logs: Path, report: Callable[[str], None]) -> None:
        """`logs` is the folder of the children's logs; `report` is given one line at a time for the terminal."""
        self._logs = logs
        self._report = report
        self._stages: list[list[_Child]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        # To the end, whoever cancels meanwhile: half a stop leaves processes behind. It is bounded by itself.
        stopping = asyncio.ensure_future(self.stop())
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        stopping.result()

    async def start(self, *specs: ChildSpec) -> None:
        """Starts one stage and returns when all of it answers.

        Raises:
            ChildFailed: naming the first that never did.
        """
        stage = [_Child(spec, ChildLog(self._logs, spec.name, self._report), self._report) for spec in specs]
        self._stages.append(stage)
        for member in stage:
            member.keep_running()
        ready = [asyncio.ensure_future(member.first_ready()) for member in stage]
        try:
            await asyncio.gather(*ready)
        finally:
            for waiter in ready:
                waiter.cancel()

    async def stop(self) -> None:
        """Ends all stages, the last started first; each stage drains together. Safe to repeat."""
        while self._stages:
            stage = self._stages[-1]
            await asyncio.gather(*(member.stop() for member in stage))
            self._stages.pop()

    def pids(self) -> dict[str, int]:
        """The process id of every child that is there now, by name."""
        members = [member for stage in self._stages for member in stage]
        return {member.spec.name: member.pid for member in members if member.pid is not None}


class _Child:
    """One child over all its restarts."""

    def __init__(self, spec: ChildSpec, log: ChildLog, report: Callable[[str], None]) -> None:
        self.spec = spec
        self._log = log
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def keep_running(self) -> None:
        self._keeper = asyncio.ensure_future(self._keep_running())

    async def first_ready(self) -> None:
        """Returns once the child has answered; raises what ended its keeper before that."""
        assert self._keeper is not None
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait({ready, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._keeper.done():
            self._keeper.result()

    async def stop(self) -> None:
        """Signals step by step, then kills. The keeper goes first, so that nobody starts the child again."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        process = self._process
        if process is None:
            return
        for number, seconds in self.spec.stop:
            if await self._signalled(process, number, seconds):
                break
        else:
            self._report(f"{self.spec.name} did not stop when asked; killing it")
            await self._signalled(process, signal.SIGKILL, seconds=5.0)
        await self._drain_output()
        self._log.close()

    async def _signalled(self, process: asyncio.subprocess.Process, number: signal.Signals, seconds: float) -> bool:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            return False
        return True

    async def _keep_running(self) -> None:
        backoff_seconds = BACKOFF_SECONDS_FIRST
        starts = 0
        while True:
            started = time.monotonic()
            starts += 1
            try:
                end = f"ended with exit code {await self._run_once()}"
            except (OSError, SetupRefused) as fault:
                # What stands in the way of the first start is for whoever started us; later it may pass.
                if not self._ready.is_set():
                    raise
                end = f"could not be started: {fault}"
            if not self._ready.is_set() and starts == FIRST_STARTS_MAX:
                raise ChildFailed(f"{self.spec.name} {end}, {starts} times in a row:\n{self._log.last_lines()}")
            if time.monotonic() - started > STEADY_SECONDS:
                backoff_seconds = BACKOFF_SECONDS_FIRST
            self._report(f"{self.spec.name} {end}; starting it again in {backoff_seconds:g} s")
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, BACKOFF_SECONDS_MAX)

    async def _run_once(self) -> int:
        """One life of the process, from its start to its exit code; one that does not answer in time is killed."""
        # In a thread, because it may wait for a leftover of a former life.
        await asyncio.to_thread(self.spec.prepare)
        # A cancellation between the start and the assignment would leave a process that nobody knows.
        starting = asyncio.ensure_future(child.start(self.spec))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._process = await starting
            raise
        process = self._process
        assert process.stdout is not None
        self._reader = asyncio.ensure_future(self._log.read(process.stdout))
        try:
            async with asyncio.timeout(self.spec.ready_seconds_max):
                # Polled, because another process cannot set our event.
                while process.returncode is None and not await self.spec.is_ready():  # noqa: ASYNC110  # see above
                    await asyncio.sleep(READY_POLL_SECONDS)
        except TimeoutError:
            self._report(f"{self.spec.name} did not answer within {self.spec.ready_seconds_max:g} s; killing it")
            process.kill()
        else:
            if process.returncode is None:
                self._ready.set()
        code = await process.wait()
        await self._drain_output()
        return code

    async def _drain_output(self) -> None:
        """Reads what the child printed last. Bounded: a grandchild that outlives it may keep the pipe open."""
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=0.2)
            self._reader.cancel()
