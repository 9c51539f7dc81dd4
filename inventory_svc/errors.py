"""What inventory refuses, and why."""

from __future__ import annotations

from meshkit.core.errors import Kind, MeshError


class UnknownSku(MeshError):
    """No such SKU; the metadata names the first ones."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_SKU"


class UnknownLocation(MeshError):
    """No such location."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_LOCATION"


class UnknownChannel(MeshError):
    """No such channel."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_CHANNEL"


class UnknownReservation(MeshError):
    """No such reservation of this client."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_RESERVATION"


class InsufficientStock(MeshError):
    """Less is available than asked for; the metadata names every short line."""

    kind = Kind.REFUSED
    reason = "INSUFFICIENT_STOCK"


class IdTaken(MeshError):
    """The id that the caller chose for a new reservation is another one's already."""

    kind = Kind.REFUSED
    reason = "ID_TAKEN"


class InsufficientAllocation(MeshError):
    """More is to be shipped than is left of the allocation."""

    kind = Kind.REFUSED
    reason = "INSUFFICIENT_ALLOCATION"


class StockLimitExceeded(MeshError):
    """A level would exceed what a level may hold."""

    kind = Kind.REFUSED
    reason = "STOCK_LIMIT_EXCEEDED"


class ReservationExpired(MeshError):
    """The hold lapsed."""

    kind = Kind.REFUSED
    reason = "RESERVATION_EXPIRED"


class WrongState(MeshError):
    """The reservation or allocation is in a state that does not allow this."""

    kind = Kind.REFUSED
    reason = "WRONG_STATE"


class DuplicateLine(MeshError):
    """The same key stands in two lines of a request that sets values."""

    kind = Kind.INVALID
    reason = "DUPLICATE_LINE"


class RevisionConflict(MeshError):
    """The level was changed since the caller read it; the metadata has its current value."""

    kind = Kind.CONFLICT
    reason = "REVISION_CONFLICT"
