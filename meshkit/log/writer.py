"""The kernel's shell: a queue of commands, one batch after the other, faults survived.

While one batch commits, the next collects, so a lone command pays one flush and hundreds share it under load.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic

import structlog
from psycopg import OperationalError

from meshkit.core.clock import Clock
from meshkit.core.errors import DeadlineExceeded, InternalError, MeshError, TooManyRequests, Unavailable
from meshkit.db.faults import is_passing, took_too_long
from meshkit.log.batch import Batch
from meshkit.log.limits import Limits
from meshkit.log.metrics import LogMetrics
from meshkit.log.model import Answer, B, Command, E, EventRow, Head, Model, R, S, Writer
from meshkit.log.store import TRANSACTION_SECONDS_MAX, append, connect, open_batch, time_for
from meshkit.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

HORIZON = timedelta(seconds=2.5)
"""How far ahead lapsing holds are loaded: longer than a batch may wait for the lock (2 s), so that the exact time,
known only once the lock is held, finds all of them in memory."""

RETRY_WAITS_SECONDS = (0.05, 0.2, 0.5, 0.75)
"""Waits before a batch is tried again: together longer than a paused lock holder keeps the lock (1 s)."""

LINGER_COMMANDS_MAX = 128
"""With this many waiting the next batch is large enough to begin at once."""
LINGER_SECONDS_MAX = 0.01


@dataclass(slots=True, eq=False)
class _Pending(Generic[B]):
    command: Command[B]
    answer: asyncio.Future[Answer]


class LogWriter(Generic[B, S, E, R]):
    """Takes commands and answers them once they are durable."""

    def __init__(
        self,
        model: Model[B, S, E, R],
        *,
        url: str,
        clock: Clock,
        limits: Limits,
        metrics: LogMetrics,
        tracing: Tracing,
        on_commit: Callable[[Sequence[EventRow], Head], None],
    ) -> None:
        """`on_commit` gets the events of each batch after its commit and before its callers are answered."""
        self._model = model
        self._url = url
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing
        self._on_commit = on_commit
        self._queue: deque[_Pending[B]] = deque()
        self._wake = asyncio.Event()
        self._connection: Writer | None = None
        self._database_gone = False
        self._closing = False
        self._in_flight: list[_Pending[B]] = []
        self._decide_seconds = 0.0001  # moving average of one command
        self._work_seconds = 0.0  # of the last batch
        self._begin_time = 0.0  # of the last transaction, in the loop's time

    async def submit(self, command: Command[B]) -> Answer:
        """Queues one command and waits until it is durable.

        A caller that is cancelled after its command has begun does not disturb it: it takes effect once, and a repeat
        under the same id learns the answer.

        Raises:
            MeshError: the model's refusals, RequestIdReused, StaleFence, TooManyRequests, DeadlineExceeded,
                Unavailable.
        """
        return await self._enqueue([command])[0]

    async def submit_all(self, commands: Sequence[Command[B]]) -> list[Answer | MeshError]:
        """Queues independent commands together; each is answered or refused for itself, in order.

        Raises:
            TooManyRequests: the queue has no room for all of them; none is queued.
        """
        answers = await asyncio.gather(*self._enqueue(commands), return_exceptions=True)
        results: list[Answer | MeshError] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, MeshError):
                raise answer
            results.append(answer)
        return results

    def _enqueue(self, commands: Sequence[Command[B]]) -> list[asyncio.Future[Answer]]:
        if self._closing:
            raise Unavailable("the service is shutting down")
        if len(self._queue) + len(commands) > self._limits.queue_commands_max:
            raise TooManyRequests(f"{self._limits.queue_commands_max} commands are waiting already")
        loop = asyncio.get_running_loop()
        pending = [_Pending(command, loop.create_future()) for command in commands]
        self._queue.extend(pending)
        self._wake.set()
        return [each.answer for each in pending]

    async def run(self) -> None:
        """Works until cancelled. The one task that touches the connection."""
        try:
            while True:
                self._wake.clear()
                while self._queue:
                    self._in_flight = self._take()
                    if self._in_flight:
                        await self._settle(self._in_flight)
                        await self._linger(len(self._in_flight))
                    self._in_flight = []
                await self._wake.wait()
        finally:
            self._closing = True
            for pending in (*self._in_flight, *self._queue):
                _refuse(pending, Unavailable("the service is shutting down"))
            await self._disconnect()

    async def _linger(self, commands: int) -> None:
        """Lets the next batch fill after one of several commands.

        A batch costs the loop some 1.5 ms however small it is. Under load a batch that happens to be small leaves grpc
        too little of the processor to bring in the next calls, so the next one is small too, and so on: 2 commands a
        batch with 250 clients waiting. A pause as long as the work itself halves the rate of batches at worst, and a
        lone command, or a full queue, never waits.
        """
        if commands > 1 and len(self._queue) < LINGER_COMMANDS_MAX:
            await asyncio.sleep(min(self._work_seconds, LINGER_SECONDS_MAX))

    async def drain(self) -> None:
        """Takes no more commands and waits until those that wait are answered."""
        self._closing = True
        while waiting := [pending.answer for pending in (*self._in_flight, *self._queue) if not pending.answer.done()]:
            await asyncio.wait(waiting)

    def _take(self) -> list[_Pending[B]]:
        """The next batch: whoever still waits and has time, up to the limits, at least one."""
        limits = self._limits
        # Twice what the last batches could decide: loading much more than that is work for nothing.
        commands_max = min(limits.batch_commands_max, int(2 * limits.decide_seconds_max / self._decide_seconds) + 16)
        now = asyncio.get_running_loop().time()
        taken: list[_Pending[B]] = []
        weight = 0
        while self._queue and len(taken) < commands_max:
            pending = self._queue[0]
            if taken and weight + pending.command.weight > limits.batch_weight_max:
                break
            self._queue.popleft()
            if pending.answer.done():
                continue  # its caller was cancelled while it waited
            deadline = pending.command.deadline
            if deadline is not None and deadline <= now:
                _refuse(pending, DeadlineExceeded("the deadline passed while the command waited"))
                continue
            taken.append(pending)
            weight += pending.command.weight
        self._metrics.queue.set(len(self._queue))
        return taken

    async def _settle(self, batch: list[_Pending[B]]) -> None:
        """Commits a batch whatever happens: again after a passing fault, in halves if it is poisoned or too much."""
        waits = () if self._database_gone else RETRY_WAITS_SECONDS
        links = [each.command.origin.traceparent for each in batch if each.command.origin.traceparent]
        for wait_seconds in (*waits, None):
            try:
                with self._tracing.batch_span("log.batch", links):
                    await self._commit(batch)
            except Exception as caught:  # noqa: BLE001 — the border: whatever a batch dies of, its callers are answered
                fault = caught
            else:
                self._database_gone = False
                return
            await self._disconnect()
            if len(batch) > 1 and (self._was_too_much(fault) or not is_passing(fault)):
                middle = len(batch) // 2
                await self._settle(batch[:middle])
                await self._settle(batch[middle:])
                return
            if not is_passing(fault):
                self._fail(batch[0], fault)
                return
            if wait_seconds is not None:
                self._metrics.retries.inc()
                await asyncio.sleep(wait_seconds)
        self._database_gone = True
        log.warning("log.database_gone", commands=len(batch), fault=type(fault).__name__)
        for pending in batch:
            _refuse(pending, Unavailable("the database is not available"))

    def _was_too_much(self, fault: Exception) -> bool:
        """Whether the server ended the transaction because of its duration.

        In pipeline mode psycopg loses the server's word for it (3.3): then the time that had gone by tells.
        """
        if took_too_long(fault):
            return True
        lasted_seconds = asyncio.get_running_loop().time() - self._begin_time
        return isinstance(fault, OperationalError) and not fault.sqlstate and lasted_seconds >= TRANSACTION_SECONDS_MAX

    def _fail(self, pending: _Pending[B], fault: Exception) -> None:
        """The one command that no batch survives."""
        command = pending.command
        log.error("log.poison_command", method=command.method, request_id=command.request_id, exc_info=fault)
        _refuse(pending, InternalError("internal error"))

    async def _commit(self, batch: list[_Pending[B]]) -> None:
        """One transaction. Commands that it had no time for go back to the head of the queue.

        It has none where too much had lapsed before them, or where deciding those before them took long.

        Nothing is answered before COMMIT has. If the connection breaks during COMMIT, the batch is done again, and the
        request rows tell which of its commands had taken effect.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        connection = await self._connected()
        self._begin_time = loop.time()
        commands = [pending.command for pending in batch]
        weight = sum(command.weight for command in commands)
        async with time_for(connection, weight), connection.pipeline():
            opened = await open_batch(connection, commands)
            horizon = self._clock.now() + HORIZON
            state = await self._model.load(connection, [command.body for command in commands], horizon=horizon)
            head, requests, fences = await opened.receive()
            now = max(self._clock.now(), head.record_time)
            if now > horizon:  # another process's clock is ahead of ours
                state = await self._model.load(connection, [command.body for command in commands], horizon=now)
            work = Batch(self._model, head=head, now=now, state=state, requests=requests, fences=fences)
            outcomes = self._execute(work, commands) if work.expire() else []
            if work.has_effects:
                await append(connection, work)
                await self._model.save(connection, work.state)
            # Also where nothing was written: at a ROLLBACK psycopg would throw its prepared statements away.
            await connection.execute("COMMIT")
            # Leaving the pipeline waits for all answers. Not `Pipeline.sync()`: it waits for them even where the socket
            # has not taken all that is to be sent, and then both sides wait until the transaction times out (psycopg
            # 3.3; seen once in 150 batches of 10,000 lines).
        self._work_seconds = loop.time() - started
        self._metrics.batch.observe(len(outcomes))
        if work.new_events:
            self._on_commit(work.new_events, work.head)
            self._metrics.commit.observe(loop.time() - started)
            self._metrics.events.inc(len(work.new_events))
            self._metrics.revision.set(work.head.revision)
        for pending, outcome in zip(batch, outcomes, strict=False):
            if isinstance(outcome, MeshError):
                _refuse(pending, outcome)
            elif not pending.answer.done():
                pending.answer.set_result(outcome)
        self._queue.extendleft(reversed(batch[len(outcomes) :]))

    def _execute(self, work: Batch[B, S, E, R], commands: Sequence[Command[B]]) -> list[Answer | MeshError]:
        """What becomes of the commands, in order, as far as there is time to decide them: at least of the first."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        outcomes: list[Answer | MeshError] = []
        for command in commands:
            if outcomes and loop.time() - begun > self._limits.decide_seconds_max:
                break
            try:
                outcomes.append(work.execute(command))
            except MeshError as refusal:
                outcomes.append(refusal)
        self._decide_seconds = 0.8 * self._decide_seconds + 0.2 * ((loop.time() - begun) / len(outcomes))
        return outcomes

    async def _connected(self) -> Writer:
        if self._connection is None:
            self._connection = await connect(self._url)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is broken already, and nothing is left to save
                await connection.close()


def _refuse(pending: _Pending[B], refusal: MeshError) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(refusal)
