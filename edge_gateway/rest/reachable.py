"""Which problems a route can answer: those that its RPC names, those of any RPC that it can have, those of HTTP alone.

An RPC's comment names its reasons ("Fails with UNKNOWN_SKU, …"); the platform's own are not repeated there. Which kind
a reason is of, and so its status, is known by the error classes; those of the services stand in `_ELSEWHERE`, because
the edge imports none of them. A test holds all of this against the classes that exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from edge_gateway import errors as own_errors
from edge_gateway.rest.availability import BATCH_GET, GET, GET_STOREFRONT
from edge_gateway.rest.binding import Route
from edge_gateway.rest.problems import TRANSPORT
from meshkit.core import errors as core_errors
from meshkit.core.errors import TABLE, Kind, MeshError
from meshkit.rpc.options import Idempotency

FROM_MEMORY: Final = frozenset({GET, BATCH_GET, GET_STOREFRONT})
"""RPCs that the edge answers from its memory. What is not there is fetched, in bounded numbers."""

_ELSEWHERE: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.INVALID: ("CURRENCY_MISMATCH", "DUPLICATE_LINE", "INVALID_EXPRESSION"),
    Kind.NOT_FOUND: (
        "UNKNOWN_CAMPAIGN", "UNKNOWN_CHANNEL", "UNKNOWN_COUPON", "UNKNOWN_LOCATION", "UNKNOWN_PROFILE",
        "UNKNOWN_PROMOTION", "UNKNOWN_REDEMPTION", "UNKNOWN_RESERVATION", "UNKNOWN_SKU",
    ),
    Kind.REFUSED: (
        "CAMPAIGN_ENDED", "CODE_TAKEN", "ID_TAKEN", "INSUFFICIENT_ALLOCATION", "INSUFFICIENT_STOCK", "LIMIT_REACHED",
        "NOT_RUNNING", "NO_PRICE", "REDEMPTION_EXPIRED", "RESERVATION_EXPIRED", "STOCK_LIMIT_EXCEEDED", "WRONG_STATE",
    ),
    Kind.CONFLICT: ("REVISION_CONFLICT",),
    Kind.TOO_MANY: ("TOO_MANY_PROMOTIONS",),
}  # fmt: skip
"""What the services refuse and this process has no class for."""

KINDS: Final[Mapping[str, Kind]] = {
    **{reason: kind for kind, reasons in _ELSEWHERE.items() for reason in reasons},
    **{
        each.reason: each.kind
        for module in (core_errors, own_errors)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, MeshError)
    },
}
"""The kind of every reason that an RPC can fail with."""


def _has_token(route: Route) -> bool:
    return not route.policy.public


def _waits_in_queue(route: Route) -> bool:
    return route.policy.idempotency is Idempotency.BY_REQUEST_ID or route.policy.full_method in FROM_MEMORY


def _has_deadline(route: Route) -> bool:
    return not route.policy.server_streaming


def _has_variable(route: Route) -> bool:
    return bool(route.template.variables)


def _takes_body(route: Route) -> bool:
    return route.takes_body


def _always(_route: Route) -> bool:
    return True


PLATFORM: Final[Mapping[str, Callable[[Route], bool]]] = {
    "INVALID_REQUEST": _always,
    "UNAUTHENTICATED": _has_token,
    "MISSING_SCOPE": _has_token,
    "OUTSIDE_GRANT": _has_token,
    "TOO_MANY_REQUESTS": _waits_in_queue,
    "INTERNAL": _always,
    "UNAVAILABLE": _always,
    "DEADLINE_EXCEEDED": _has_deadline,
}
"""The platform's own reasons, and which routes can have them. Not STALE_FENCE: no caller can send a fence."""

HTTP: Final[Mapping[str, Callable[[Route], bool]]] = {
    "ROUTE_NOT_FOUND": _has_variable,  # an empty segment matches nothing
    "NOT_ACCEPTABLE": _always,
    "BODY_TOO_SLOW": _takes_body,
    "BODY_TOO_LARGE": _takes_body,
    "UNSUPPORTED_MEDIA_TYPE": _takes_body,
}
"""The same of what only HTTP knows."""

NO_METHOD: Final = "METHOD_NOT_ALLOWED"
"""What a path answers to a method that it has no operation for; `reachable` says when it is an operation's as well."""

_BY_THE_WAY: Final = re.compile(r"\([^()]*\)")
_FAILS_WITH: Final = re.compile(r"Fails with ([^.]*)\.")


def reachable(route: Route, comment: str, *, beside_verbs: bool) -> dict[int, list[str]]:
    """Reasons by status, both in order: the platform's before the RPC's own, which its comment names.

    `beside_verbs`: an id that ends in the verb of another route (`x:commit`) is that route's, whatever the method.
    """
    common = [NO_METHOD] if beside_verbs else []
    common += [reason for reason, applies in {**HTTP, **PLATFORM}.items() if applies(route)]
    own = [reason for reason in named_reasons(comment) if reason in KINDS and reason not in common]
    found: dict[int, list[str]] = {}
    for reason in common + own:
        found.setdefault(status_of(reason), []).append(reason)
    return dict(sorted(found.items()))


def named_reasons(comment: str) -> list[str]:
    """What a comment says that an RPC fails with, spelt as it is there."""
    found = _FAILS_WITH.search(_BY_THE_WAY.sub("", comment))
    return [each.strip(" \n`") for each in found[1].split(",")] if found else []


def status_of(reason: str) -> int:
    """The HTTP status of a reason."""
    return TRANSPORT[reason][0] if reason in TRANSPORT else TABLE[KINDS[reason]].http_status


def titles(reasons: list[str]) -> Iterator[str]:
    """What the problems of these reasons are called, each title once."""
    every = (TRANSPORT[each][1] if each in TRANSPORT else TABLE[KINDS[each]].title for each in reasons)
    yield from dict.fromkeys(every)
