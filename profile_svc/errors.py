"""What profile refuses, and why."""

from __future__ import annotations

from meshkit.core.errors import Kind, MeshError


class UnknownProfile(MeshError):
    """No such profile."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_PROFILE"


class IdTaken(MeshError):
    """A purchase of this id is recorded already, by another request."""

    kind = Kind.REFUSED
    reason = "ID_TAKEN"


class CurrencyMismatch(MeshError):
    """A line costs another currency than the purchase; the violations name every such line."""

    kind = Kind.INVALID
    reason = "CURRENCY_MISMATCH"
