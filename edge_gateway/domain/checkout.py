"""A checkout as the edge keeps it, and which way it may go.

    opening ─► open ─► confirming ─► confirmed
       │        ├────► cancelling ─► cancelled
       │        └────► expired ◄── confirming (a hold had lapsed)
       └─► refused

One row a checkout; whoever moves it from `open` first wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from edge_gateway.errors import CheckoutExpired, UnknownCheckout, WrongState
from meshkit.core.errors import MeshError
from meshkit.core.principal import Principal


class State(Enum):
    """Where a checkout stands."""

    OPENING = "opening"
    OPEN = "open"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"

    @property
    def settled(self) -> bool:
        """Whether nobody works on it."""
        return self not in {State.OPENING, State.CONFIRMING, State.CANCELLING}


class Work(Enum):
    """What a process does, or has to take over, for a checkout. Which way it goes is committed before it turns."""

    NONE = ""
    OPEN = "open"
    UNDO_OPEN = "undo open"
    CONFIRM = "confirm"
    UNDO_CONFIRM = "undo confirm"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Checkout:
    """One row. `request` and `plan` are the contract's messages, serialised: what was asked for, what was promised.

    `fence` counts the owners; only the latest may write. `principal` is the authority of all steps, also after the
    token that proved it has ended. `fault` says, as JSON, why an undone checkout was undone.
    """

    checkout_id: str
    client_id: str
    principal: Principal
    state: State
    work: Work
    fence: int
    request: bytes
    plan: bytes
    profile_id: str
    order_reference: str
    payment_reference: str
    fault: str
    lapsed: bool
    expire_time: datetime
    create_time: datetime
    confirm_time: datetime | None
    update_time: datetime


def require_own(checkout: Checkout | None, checkout_id: str, client_id: str) -> Checkout:
    """The checkout, if it is this client's.

    Raises:
        UnknownCheckout: there is none, or it is another client's: who may not see it learns nothing.
    """
    if checkout is None or checkout.client_id != client_id:
        raise UnknownCheckout(f"unknown checkout {checkout_id}", metadata={"checkout_id": checkout_id})
    return checkout


def refusal(checkout: Checkout, wish: str) -> MeshError:
    """Why a checkout that is not open cannot be `wish` (confirmed, cancelled)."""
    metadata = {"checkout_id": checkout.checkout_id, "state": shown_state(checkout).value}
    if shown_state(checkout) is State.EXPIRED:
        return CheckoutExpired(f"checkout {checkout.checkout_id} has expired; nothing was sold", metadata=metadata)
    found = shown_state(checkout).value
    already = f"{found} already, by another request" if found == wish else f"{found} and cannot be {wish}"
    message = f"checkout {checkout.checkout_id} is {already}"
    return WrongState(message, metadata=metadata)


def shown_state(checkout: Checkout) -> State:
    """The state to the instant: an open checkout that has lapsed is expired, swept or not."""
    return State.EXPIRED if checkout.state is State.OPEN and checkout.lapsed else checkout.state
