"""An edge process whose checkouts stand still at the point that their `reference` names, until it is killed.

`python parking.py serve` is `python -m edge_gateway serve` with a hand on each call of a step and on each commit. A
reference is `after HoldRedemption` or `before settle confirm`; with `; down HoldRedemption` that call reaches nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from beautymesh.edge.v1 import checkout_pb2
from edge_gateway import bootstrap
from edge_gateway.clients.services import Channels, Services, services
from edge_gateway.settings import EdgeSettings
from edge_gateway.store import checkouts as store
from meshkit import service
from meshkit.core.errors import Unavailable


async def passing(reference: str, name: str, go: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 — whatever it wraps
    """The call or commit, unless the checkout stands still before or after it."""
    point, _, down = reference.partition("; down ")
    if point == f"before {name}":
        await stand_still(reference)
    if name == down:
        raise Unavailable("it reaches nobody")
    answer = await go()
    if point == f"after {name}":
        await stand_still(reference)
    return answer


async def stand_still(reference: str) -> None:
    """For ever; says so."""
    sys.stdout.write(json.dumps({"event": "parked", "reference": reference}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


class Parking:
    """A stub that a step calls."""

    def __init__(self, stub: object) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._stub, name)

        async def call(request: Any, **options: float) -> Any:  # noqa: ANN401 — any RPC's messages
            reference = request.context.reference if hasattr(request.context, "saga") else ""
            return await passing(reference, name, lambda: method(request, **options))

        return call


def parking_services(channels: Channels) -> Services:
    """The stubs that sagas call."""
    real = services(channels)
    return Services(*(Parking(each) for each in (real.inventory, real.promo, real.profile)))  # type: ignore[arg-type]  # stubs


def parking_commit(name: str) -> None:
    """Puts a hand on one of the store's commits. The point's name ends with the work that is done, if there is any."""
    real = getattr(store, name)

    async def commit(engine: object, target: Any, *others: Any, **named: Any) -> Any:  # noqa: ANN401 — the store's
        if isinstance(target, str):
            found = await store.read_checkout(engine, target)  # type: ignore[arg-type]  # an engine
            target_request = found.request if found is not None else b""
            work = named["work"].value
        else:
            target_request, work = target.request, target.work.value
        reference = checkout_pb2.CreateCheckoutRequest.FromString(target_request).reference
        return await passing(reference, f"{name} {work}", lambda: real(engine, target, *others, **named))

    setattr(store, name, commit)


if __name__ == "__main__":
    vars(bootstrap)["services"] = parking_services
    for commit_name in ("insert_opening", "move_open", "update_plan", "update_work", "settle", "settle_later"):
        parking_commit(commit_name)
    service.run(EdgeSettings.load(), bootstrap.build)
