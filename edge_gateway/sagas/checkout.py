"""Opening, confirming and cancelling a checkout: from the request to the answer.

A request that moves a checkout is remembered in the commit that moves it, so a repeat finds the same one, waits until
it is settled and answers it as it is then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from functools import partial
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from beautymesh.edge.v1 import checkout_pb2
from edge_gateway.clients.services import Services
from edge_gateway.domain.checkout import Checkout, State, Work, refusal, require_own, shown_state
from edge_gateway.errors import CheckoutExpired, OffersUnsettled
from edge_gateway.sagas.plan import draw_up, evaluation_of, message, promise
from edge_gateway.sagas.reevaluation import OFFERS_GONE
from edge_gateway.sagas.runner import Outcome, Runner
from edge_gateway.store import checkouts as store
from meshkit.core.clock import Clock
from meshkit.core.errors import MeshError, OutsideGrant, RequestIdReused, Unavailable
from meshkit.log.fingerprint import fingerprint, first_difference
from meshkit.rpc.call import Call

POLL_SECONDS: Final = 0.05
POLL_SECONDS_MAX: Final = 0.5
"""How often a wait for another process looks, at first and in the end: many may wait while a service is slow."""

POLL_MARGIN_SECONDS: Final = 0.05
"""How long before the deadline a wait for another process ends, so that its answer arrives."""

RequestT = TypeVar(
    "RequestT",
    checkout_pb2.CreateCheckoutRequest,
    checkout_pb2.ConfirmCheckoutRequest,
    checkout_pb2.CancelCheckoutRequest,
)


FoundT = TypeVar("FoundT", bound=Checkout | None)


class Checkouts:
    """What the checkout RPCs do."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        services: Services,
        runner: Runner,
        fingerprint_key: bytes,
        clock: Clock,
        new_id: Callable[[], str],
        lease_seconds: float,
    ) -> None:
        """`lease_seconds`: how long this process owns what it begins."""
        self._engine = engine
        self._services = services
        self._runner = runner
        self._fingerprint_key = fingerprint_key
        self._clock = clock
        self._new_id = new_id
        self._lease_seconds = lease_seconds

    async def create(self, request: checkout_pb2.CreateCheckoutRequest, call: Call) -> checkout_pb2.Checkout:
        """An open checkout.

        Raises:
            MeshError: what promo or inventory refuses, as they say it; nothing is held then.
            OffersUnsettled: limits ran out again and again.
        """
        remembered = self._remember(request, call)
        while True:
            known = await self._known(remembered, call)
            if known is not None:
                return message(_within_grant(known, call))
            checkout = await self._draw_up(request, call)
            try:
                await store.insert_opening(self._engine, checkout, remembered, lease_seconds=self._lease_seconds)
            except store.RequestKnown:
                continue
            outcome = await self._runner.run(checkout)
            if outcome.checkout is None:
                continue  # another process has taken it over; the request finds it
            if outcome.error is not None:
                raise _refusal_to_open(checkout.checkout_id, outcome.error) from outcome.error
            return message(outcome.checkout)

    async def confirm(self, request: checkout_pb2.ConfirmCheckoutRequest, call: Call) -> checkout_pb2.Checkout:
        """The checkout, sold.

        Raises:
            UnknownCheckout, CheckoutExpired, WrongState
        """
        remembered = self._remember(request, call)

        async def move() -> Checkout | None:
            return await store.move_open(
                self._engine,
                request.checkout_id,
                remembered,
                work=Work.CONFIRM,
                principal=call.principal,
                order_reference=request.order_reference,
                payment_reference=request.payment_reference,
                lease_seconds=self._lease_seconds,
            )

        moved = await self._move(request.checkout_id, remembered, call, move)
        if moved is None or moved.state is not State.CONFIRMED:
            raise refusal(moved or await self._own(request.checkout_id, call), "confirmed")
        return message(moved)

    async def cancel(self, request: checkout_pb2.CancelCheckoutRequest, call: Call) -> checkout_pb2.Checkout:
        """The checkout, holding nothing any more.

        Raises:
            UnknownCheckout, WrongState
        """
        remembered = self._remember(request, call)

        async def move() -> Checkout | None:
            return await store.move_open(
                self._engine,
                request.checkout_id,
                remembered,
                work=Work.CANCEL,
                principal=call.principal,
                lease_seconds=self._lease_seconds,
            )

        moved = await self._move(request.checkout_id, remembered, call, move)
        checkout = moved or await self._own(request.checkout_id, call)
        if checkout.state is State.CANCELLING:  # by another request, which does what this one wants
            checkout = await self._when_settled(partial(self._own, request.checkout_id, call), call)
        if shown_state(checkout) not in {State.CANCELLED, State.EXPIRED}:
            raise refusal(checkout, "cancelled")
        return message(checkout)

    async def get(self, checkout_id: str, call: Call) -> checkout_pb2.Checkout:
        """The checkout as it is.

        Raises:
            UnknownCheckout
        """
        return message(await self._own(checkout_id, call))

    async def list(self, chosen: store.Filter, call: Call, *, rows_max: int) -> tuple[list[Checkout], str]:
        """A page, newest first, and the id that the next one begins after; empty after the last page.

        What the token does not cover is left out, so a page may be short.
        """
        rows = await store.list_checkouts(self._engine, chosen, rows_max=rows_max + 1)
        page = rows[:rows_max]
        return [each for each in page if _covers(call, each)], page[-1].checkout_id if rows != page else ""

    async def _draw_up(self, request: checkout_pb2.CreateCheckoutRequest, call: Call) -> Checkout:
        evaluated = await self._services.promo.EvaluateCart(evaluation_of(request))
        now = self._clock.now()
        plan = draw_up(request, evaluated, now=now, new_id=self._new_id)
        return Checkout(
            checkout_id=plan.checkout_id,
            client_id=call.principal.client_id,
            principal=call.principal,
            state=State.OPENING,
            work=Work.OPEN,
            fence=1,
            request=request.SerializeToString(),
            plan=plan.SerializeToString(),
            profile_id=request.profile_id,
            order_reference="",
            payment_reference="",
            fault="",
            lapsed=False,
            expire_time=plan.expire_time.ToDatetime(tzinfo=UTC),
            create_time=now,
            confirm_time=None,
            update_time=now,
        )

    async def _move(
        self,
        checkout_id: str,
        remembered: store.Request,
        call: Call,
        move: Callable[[], Awaitable[Checkout | None]],
    ) -> Checkout | None:
        """The checkout once this very request has moved it; None where something else came first."""
        known = await self._known(remembered, call)
        if known is not None:
            return _within_grant(known, call)
        if call.principal.channels or call.principal.locations:
            await self._own(checkout_id, call)  # before it moves: it moves with the mover's authority
        try:
            moved = await move()
        except store.RequestKnown:
            moved = None
        if moved is not None:
            outcome = await self._runner.run(moved)
            if outcome.checkout is not None:
                return _settled(outcome)
        return await self._known(remembered, call)

    async def _own(self, checkout_id: str, call: Call) -> Checkout:
        """The client's own checkout, if the token covers it.

        Raises:
            UnknownCheckout, OutsideGrant
        """
        found = await store.read_checkout(self._engine, checkout_id)
        return _within_grant(require_own(found, checkout_id, call.principal.client_id), call)

    async def _known(self, remembered: store.Request, call: Call) -> Checkout | None:
        """What this request moved before, once it is settled; None if it moved nothing, or was undone and forgotten.

        Raises:
            RequestIdReused: it had another body.
            Unavailable: it is still being worked on shortly before the deadline.
        """

        async def read() -> Checkout | None:
            found = await store.read_request(self._engine, remembered.client_id, remembered.request_id)
            if found is None:
                return None
            _require_same(found, remembered)
            return found.checkout

        return await self._when_settled(read, call)

    async def _when_settled(self, read: Callable[[], Awaitable[FoundT]], call: Call) -> FoundT:
        """What is read, as soon as nobody works on it."""
        pause_seconds = POLL_SECONDS
        while True:
            found = await read()
            if found is None or found.state.settled:
                return found
            if call.deadline is not None:
                left = call.deadline - asyncio.get_running_loop().time()
                if left < pause_seconds + POLL_MARGIN_SECONDS:
                    raise Unavailable("the checkout is being worked on; ask again", retry_seconds=1)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, POLL_SECONDS_MAX)

    def _remember(self, request: RequestT, call: Call) -> store.Request:
        return store.Request(
            client_id=call.principal.client_id,
            request_id=request.request_id,
            method=call.policy.name,
            fingerprint=fingerprint(request, key=self._fingerprint_key),
        )


def _within_grant(checkout: Checkout, call: Call) -> Checkout:
    """The checkout, if the caller's token covers its channel and the location of every line.

    Raises:
        OutsideGrant
    """
    principal = call.principal
    if principal.channels or principal.locations:
        plan = promise(checkout).plan
        principal.require_channel(plan.channel)
        for line in plan.lines:
            principal.require_location(line.location)
    return checkout


def _covers(call: Call, checkout: Checkout) -> bool:
    try:
        _within_grant(checkout, call)
    except OutsideGrant:
        return False
    return True


def _refusal_to_open(checkout_id: str, fault: MeshError) -> MeshError:
    """What the caller is told: a limit is no fault of the cart's, and the time of the hold is not a field of it."""
    if fault.reason in OFFERS_GONE:
        return OffersUnsettled("offers kept running out while the cart was being held")
    if any(violation.field == "expire_time" for violation in fault.violations):
        metadata = {"checkout_id": checkout_id}
        return CheckoutExpired("the checkout lapsed before all of it was held; nothing is held", metadata=metadata)
    return fault


def _settled(outcome: Outcome) -> Checkout:
    """The checkout where the run has settled it, undone or not.

    Raises:
        MeshError: it is left for later; the same request answers it then.
    """
    assert outcome.checkout is not None, "a lost run has no checkout"
    if not outcome.checkout.state.settled:
        assert outcome.error is not None, f"{outcome.checkout.checkout_id} was left for no reason"
        raise outcome.error
    return outcome.checkout


def _require_same(found: store.Found, remembered: store.Request) -> None:
    if found.method != remembered.method:
        differing = "method"
    else:
        number = first_difference(found.fingerprint, remembered.fingerprint)
        if number is None:
            return
        differing = _field_names(remembered.method).get(number, str(number))
    text = f"request id {remembered.request_id} was used before with another {differing}"
    raise RequestIdReused(text, metadata={"request_id": remembered.request_id, "field": differing})


def _field_names(method: str) -> dict[int, str]:
    name = method.rpartition("/")[2] + "Request"
    return {field.number: field.name for field in checkout_pb2.DESCRIPTOR.message_types_by_name[name].fields}
