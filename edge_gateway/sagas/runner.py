"""Does the steps of a saga, commits which way it turns, and gives up what another process has taken over.

Two commits of the edge's own on the happy path: the plan's, which the caller has made, and the outcome's. A run that is
neither through nor undone leaves its work to whoever takes it over, which may be this process. A run that takes long
keeps its lease: slow services must not make owners rob each other of work that is being done.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.common.v1 import context_pb2
from edge_gateway.clients.services import Services
from edge_gateway.domain.checkout import Checkout, State, Work
from edge_gateway.sagas.core import Run, Turn, Verdict
from edge_gateway.sagas.metrics import RUNS
from edge_gateway.sagas.plan import REEVALUATIONS_MAX, Promise, promise
from edge_gateway.sagas.steps import CONFIRM, OPEN, Step
from edge_gateway.store import checkouts as store
from meshkit.core.errors import Kind, MeshError, StaleFence, Unavailable
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.options import RpcPolicy
from meshkit.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 0.5
"""After what did not answer, at first."""

REFUSED_AGAIN_SECONDS: Final = 30.0
"""After what needs a person, who must not keep others from being taken over."""

DRAIN_SECONDS_MAX: Final = 10.0
"""How long a process that ends waits for its runs: five calls. What is left then is taken over."""

_DECIDED: Final = frozenset({Kind.REFUSED, Kind.NOT_FOUND, Kind.INVALID, Kind.REUSED_ID, Kind.CONFLICT})
"""Kinds by which a service says that it has decided against an action. By all others it says that it did not listen (it
cannot check the token today, does not know the RPC yet), or nothing: an attempt before may have had its effect."""

_PASSING: Final = frozenset({Kind.UNAVAILABLE, Kind.LATE, Kind.TOO_MANY, Kind.INTERNAL})
"""Kinds that may be gone in a moment, without anybody's doing."""

_NOTHING_TO_UNDO: Final = frozenset({Kind.NOT_FOUND, Kind.REFUSED})
"""Kinds by which a service says that there is nothing to take back."""

_SAGAS: Final = {
    Work.OPEN: (OPEN, False),
    Work.UNDO_OPEN: (OPEN, True),
    Work.CONFIRM: (CONFIRM, False),
    Work.UNDO_CONFIRM: (CONFIRM, True),
    Work.CANCEL: (OPEN, True),
}
"""What each work runs, and whether backwards."""

_TURNED: Final = {Work.OPEN: Work.UNDO_OPEN, Work.CONFIRM: Work.UNDO_CONFIRM}

Mend = Callable[[Promise, MeshError], Awaitable[Promise | None]]
"""Another promise under which a refused step may succeed; None where there is none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    `checkout` is the row that this process wrote last; None where another process owns it. `error` is what turned it
    back, or what it waits for; None where it went through.
    """

    checkout: Checkout | None
    error: MeshError | None = None


@dataclass(frozen=True, slots=True)
class _Owned:
    """What a run works on, and since when in the loop's time."""

    checkout: Checkout
    begin_time: float


class _Lost(Exception):
    """Another process owns the checkout."""


class Runner:
    """Runs sagas in tasks of their own, so that a caller who goes away leaves nothing half done."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        services: Services,
        mend: Mend,
        policy: RpcPolicy,
        lease_seconds: float,
        metrics: Metrics,
    ) -> None:
        """`policy` is that of the RPC on whose behalf steps are called when nobody waits for them."""
        self._engine = engine
        self._services = services
        self._mend = mend
        self._policy = policy
        self._lease_seconds = lease_seconds
        self._runs = metrics.counter(RUNS)
        self._running: dict[asyncio.Task[Outcome], _Owned] = {}

    async def run(self, checkout: Checkout) -> Outcome:
        """Works on a checkout that this process owns until it is settled, or until that must wait."""
        task = asyncio.create_task(self._run(checkout), name=f"checkout {checkout.checkout_id}")
        self._running[task] = _Owned(checkout, asyncio.get_running_loop().time())
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def keep_leases(self) -> None:
        """Renews the leases of what is running, until cancelled. Runs that are over soon are never looked at."""
        between_seconds = self._lease_seconds / 6  # the first renewal comes before two of them have gone by
        while True:
            await asyncio.sleep(between_seconds)
            before = asyncio.get_running_loop().time() - between_seconds
            long = [owned.checkout for owned in self._running.values() if owned.begin_time <= before]
            if long:
                try:
                    await store.renew_leases(self._engine, long, lease_seconds=self._lease_seconds)
                except MeshError as fault:
                    _log.warning("leases not renewed", reason=fault.reason)

    async def drain(self) -> None:
        """Waits for what is running."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS_MAX)

    def _forget(self, task: asyncio.Task[Outcome]) -> None:
        owned = self._running.pop(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Whoever waits is told as well; but the caller may be gone, and the work is left to a later owner.
            _log.error("saga run failed", checkout_id=owned.checkout.checkout_id, fault=repr(fault))

    async def _run(self, checkout: Checkout) -> Outcome:
        # Steps have deadlines of their own, and the authority that the checkout was made with.
        current_call.set(Call(self._policy, checkout.principal, None, "", "", None))
        try:
            outcome = await self._steps(promise(checkout))
        except _Lost:
            outcome = Outcome(None)
        self._runs.labels(checkout.work.value, _ending(outcome)).inc()
        return outcome

    async def _steps(self, promised: Promise) -> Outcome:
        saga, backwards = _SAGAS[promised.checkout.work]
        sold = promised.checkout.state is State.CONFIRMED
        run = Run(saga.shape, backwards=backwards, past_pivot=sold)
        error: MeshError | None = None
        while not run.over:
            step = saga.steps[run.at]
            verdict, fault, promised = await self._attempt(step, promised, run)
            match run.take(verdict):
                case Turn.TURN_BACK:
                    assert fault is not None, "only a fault turns a saga back"
                    error = fault
                    promised = await self._turn_back(promised, fault)
                case Turn.TURN_FORWARD:
                    error = None
                    promised = await self._turn_forward(promised)
                case Turn.STOP:
                    assert fault is not None, "only a fault stops a saga"
                    return await self._leave(promised, run, fault)
                case Turn.GO_ON:
                    pass
        return Outcome(await self._settle(promised.checkout), error)

    async def _attempt(self, step: Step, promised: Promise, run: Run) -> tuple[Verdict, MeshError | None, Promise]:
        """Does or undoes one step; under another promise where the first one cannot be kept."""
        while True:
            verdict, fault = await self._once(step, promised, backwards=run.backwards)
            if fault is None or run.backwards or verdict is not Verdict.REFUSED:
                return verdict, fault, promised
            try:
                mended = await self._mend(promised, fault)
            except MeshError as again:
                return _verdict_on(again), again, promised
            if mended is None:
                return verdict, fault, promised
            await self._commit_plan(mended)
            # An earlier owner's attempt under the old promise may still be on its way.
            barred, unheard = await self._once(step, promised, backwards=True)
            promised = mended
            if barred is not Verdict.DONE:
                return barred, unheard, promised

    async def _once(self, step: Step, promised: Promise, *, backwards: bool) -> tuple[Verdict, MeshError | None]:
        action = step.undo if backwards else step.do
        assert action is not None, f"{step.name} cannot be undone"
        try:
            await action(self._services, promised, _context(promised, backwards=backwards))
        except StaleFence as late:
            _log.info("another owner was met", checkout_id=_id(promised), step=step.name, **late.metadata)
            raise _Lost from late
        except MeshError as fault:
            if backwards and step.stands(fault):
                return Verdict.STANDS, fault
            if backwards and fault.kind in _NOTHING_TO_UNDO:
                # Somebody has acted on the hold over the checkout's head; asking again will not change that.
                _log.error("undo refused", checkout_id=_id(promised), step=step.name, reason=fault.reason)
                return Verdict.DONE, None
            return _verdict_on(fault), fault
        return Verdict.DONE, None

    async def _commit_plan(self, promised: Promise) -> None:
        plan = promised.checkout.plan
        if not await store.update_plan(self._engine, promised.checkout, plan, lease_seconds=self._lease_seconds):
            raise _Lost

    async def _turn_back(self, promised: Promise, fault: MeshError) -> Promise:
        """Commits that the saga is being undone, before the first undo: nobody may do its steps again after that."""
        checkout = replace(promised.checkout, work=_TURNED[promised.checkout.work], fault=_fault_json(fault))
        kept = await store.update_work(
            self._engine,
            checkout,
            checkout.work,
            fault=checkout.fault,
            state=checkout.state,
            lease_seconds=self._lease_seconds,
        )
        if not kept:
            raise _Lost
        return replace(promised, checkout=checkout)

    async def _turn_forward(self, promised: Promise) -> Promise:
        """Commits that it is sold after all, before the steps past the pivot: nobody may undo it any more."""
        _log.error("sold, though it was being undone", checkout_id=_id(promised), fault=promised.checkout.fault)
        checkout = replace(promised.checkout, work=Work.CONFIRM, state=State.CONFIRMED, fault="")
        kept = await store.update_work(
            self._engine, checkout, checkout.work, fault="", state=checkout.state, lease_seconds=self._lease_seconds
        )
        if not kept:
            raise _Lost
        return replace(promised, checkout=checkout)

    async def _leave(self, promised: Promise, run: Run, fault: MeshError) -> Outcome:
        """Leaves the rest to a later owner. Past the pivot the caller need not wait for it: it is sold."""
        passing = fault.kind in _PASSING
        log = _log.warning if passing else _log.error
        log("saga left for later", checkout_id=_id(promised), work=promised.checkout.work.value, reason=fault.reason)
        state = State.CONFIRMED if run.past_pivot else promised.checkout.state
        after_seconds = AGAIN_SECONDS if passing else REFUSED_AGAIN_SECONDS
        left = await store.settle_later(self._engine, promised.checkout, state, after_seconds=after_seconds)
        if left is None:
            raise _Lost
        if run.past_pivot:
            return Outcome(left)
        return Outcome(left, Unavailable("a service did not answer; what was begun is being finished", retry_seconds=1))

    async def _settle(self, checkout: Checkout) -> Checkout:
        settled = await store.settle(self._engine, checkout, _final_state(checkout))
        if settled is None:
            raise _Lost
        return settled


def _ending(outcome: Outcome) -> str:
    if outcome.checkout is None:
        return "lost"
    if outcome.checkout.work is not Work.NONE:
        return "left"
    return "done" if outcome.error is None else "undone"


def _final_state(checkout: Checkout) -> State:
    match checkout.work:
        case Work.OPEN:
            return State.OPEN
        case Work.CONFIRM:
            return State.CONFIRMED
        case Work.UNDO_OPEN:
            return State.REFUSED
        case Work.CANCEL:
            return State.CANCELLED
        case Work.UNDO_CONFIRM:
            # Somebody may also have released or committed a hold over the checkout's head.
            return State.EXPIRED if json.loads(checkout.fault)["reason"].endswith("_EXPIRED") else State.CANCELLED
        case Work.NONE:
            raise AssertionError(f"nothing is to be done for {checkout.checkout_id}")


def _verdict_on(fault: MeshError) -> Verdict:
    return Verdict.REFUSED if fault.kind in _DECIDED else Verdict.UNKNOWN


def _context(promised: Promise, *, backwards: bool) -> context_pb2.CommandContext:
    """Each promise of each owner has two fences: the undo's is above the actions', so one that comes late is barred."""
    promises_max = REEVALUATIONS_MAX + 1
    turn = promises_max * promised.checkout.fence + promised.changes
    return context_pb2.CommandContext(
        saga=context_pb2.SagaFence(saga_id=_id(promised), fence=2 * turn + backwards),
        reference=promised.request.reference,
    )


def _fault_json(fault: MeshError) -> str:
    return json.dumps({"reason": fault.reason, "message": fault.message})


def _id(promised: Promise) -> str:
    return promised.checkout.checkout_id
