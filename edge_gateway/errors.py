"""What the edge refuses by itself, and why."""

from __future__ import annotations

from meshkit.core.errors import Kind, MeshError


class UnknownCheckout(MeshError):
    """No such checkout of this client."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_CHECKOUT"


class CheckoutExpired(MeshError):
    """The checkout lapsed before it was confirmed; nothing has changed."""

    kind = Kind.REFUSED
    reason = "CHECKOUT_EXPIRED"


class WrongState(MeshError):
    """The checkout's state does not allow it; the metadata names the state."""

    kind = Kind.REFUSED
    reason = "WRONG_STATE"


class OffersUnsettled(MeshError):
    """Offers ended, or their limits ran out, each time that the cart was about to be held."""

    kind = Kind.CONFLICT
    reason = "OFFERS_UNSETTLED"
