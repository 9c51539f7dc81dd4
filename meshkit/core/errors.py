"""Which errors cross a service's border, and what each kind means to a caller.

Domain code raises a `MeshError` subclass; the `errors` interceptor turns it into a `google.rpc.Status`, the edge's
handler into an RFC 9457 problem. `TABLE` is the one place that knows status codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What sort of fault it is, as far as a caller must tell one from another."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    CONFLICT = "conflict"
    REUSED_ID = "reused_id"
    GONE = "gone"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    LATE = "late"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """How one kind looks outside.

    `grpc_status` is the name of a `grpc.StatusCode`. `retry_seconds` is the wait that `RetryInfo` and `Retry-After`
    advise before the same request is sent again; None where repeating it unchanged is of no use.
    """

    grpc_status: str
    http_status: int
    title: str
    retry_seconds: float | None = None


TABLE: Mapping[Kind, Meaning] = {
    Kind.INVALID: Meaning("INVALID_ARGUMENT", 400, "The request is not valid"),
    Kind.UNAUTHENTICATED: Meaning("UNAUTHENTICATED", 401, "A valid token is needed"),
    Kind.FORBIDDEN: Meaning("PERMISSION_DENIED", 403, "The token does not allow this"),
    Kind.NOT_FOUND: Meaning("NOT_FOUND", 404, "There is no such thing"),
    Kind.REFUSED: Meaning("FAILED_PRECONDITION", 409, "The current state does not allow this"),
    Kind.CONFLICT: Meaning("ABORTED", 409, "Somebody else changed it first"),
    Kind.REUSED_ID: Meaning("ALREADY_EXISTS", 422, "The request id was used for another request"),
    Kind.GONE: Meaning("OUT_OF_RANGE", 410, "The point asked for cannot be read"),
    Kind.TOO_MANY: Meaning("RESOURCE_EXHAUSTED", 429, "Too many requests", retry_seconds=0.25),
    Kind.UNAVAILABLE: Meaning("UNAVAILABLE", 503, "A dependency is not available", retry_seconds=1.0),
    Kind.LATE: Meaning("DEADLINE_EXCEEDED", 504, "The deadline passed"),
    Kind.UNIMPLEMENTED: Meaning("UNIMPLEMENTED", 501, "There is no such method"),
    Kind.INTERNAL: Meaning("INTERNAL", 500, "Our fault"),
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong: `field` is its path in the request (`lines[3].quantity`)."""

    field: str
    description: str


class MeshError(Exception):
    """A refusal that a caller may see.

    `reason` is stable and for programs (UPPER_SNAKE_CASE), `message` is safe to show, `metadata` holds the facts of the
    case: names and numbers, never personal data. The subclass names the kind.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_seconds: float | None = None,
    ) -> None:
        """Source of the arguments: the class docstring. `retry_seconds` replaces the table's advice."""
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata or {}
        self.violations = violations
        self.retry_seconds = retry_seconds if retry_seconds is not None else TABLE[self.kind].retry_seconds

    @property
    def meaning(self) -> Meaning:
        """The row of the table."""
        return TABLE[self.kind]


def listed(facts: Sequence[object]) -> str:
    """A list as a value of `MeshError.metadata`, which holds texts: a JSON array.

    Where it is too long for the wire, its first entries arrive.
    """
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


class InvalidRequest(MeshError):
    """A field is missing, malformed or out of bounds."""

    kind = Kind.INVALID
    reason = "INVALID_REQUEST"

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """Names one wrong field."""
        return cls(f"{field}: {description}", violations=(FieldViolation(field, description),))


class InvalidPageToken(InvalidRequest):
    """The page token was not made by this RPC for this query."""

    reason = "INVALID_PAGE_TOKEN"


class ResumeTokenInvalid(InvalidRequest):
    """The resume token cannot be read, or was made for another filter."""

    reason = "RESUME_TOKEN_INVALID"


class Unauthenticated(MeshError):
    """There is no token, or it is malformed, expired or wrongly signed."""

    kind = Kind.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class MissingScope(MeshError):
    """The token lacks a scope that the RPC needs."""

    kind = Kind.FORBIDDEN
    reason = "MISSING_SCOPE"


class OutsideGrant(MeshError):
    """The token is limited to other channels or locations."""

    kind = Kind.FORBIDDEN
    reason = "OUTSIDE_GRANT"


class StaleFence(MeshError):
    """Another process has taken the saga over."""

    kind = Kind.CONFLICT
    reason = "STALE_FENCE"


class RequestIdReused(MeshError):
    """The request id was used before with another body; the metadata names the first field that differs."""

    kind = Kind.REUSED_ID
    reason = "REQUEST_ID_REUSED"


class ResumeTokenForeign(MeshError):
    """The resume token comes from another deployment's log, or from revisions that this one does not have."""

    kind = Kind.GONE
    reason = "RESUME_TOKEN_FOREIGN"


class RevisionInFuture(MeshError):
    """The revision asked for has not been written yet."""

    kind = Kind.GONE
    reason = "REVISION_IN_FUTURE"


class RevisionNotYetVisible(MeshError):
    """This process has not seen the revision asked for within the deadline."""

    kind = Kind.UNAVAILABLE
    reason = "REVISION_NOT_YET_VISIBLE"


class TooManyRequests(MeshError):
    """A bounded queue is full."""

    kind = Kind.TOO_MANY
    reason = "TOO_MANY_REQUESTS"


class Unavailable(MeshError):
    """A dependency is gone; the same request may be sent again under the same id."""

    kind = Kind.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(MeshError):
    """There was no time left; nothing was begun that the deadline could still stop."""

    kind = Kind.LATE
    reason = "DEADLINE_EXCEEDED"


class InternalError(MeshError):
    """Our own fault; the log has the detail, the caller has none."""

    kind = Kind.INTERNAL
    reason = "INTERNAL"
