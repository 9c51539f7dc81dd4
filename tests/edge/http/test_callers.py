"""Who may do what over REST: tokens, scopes, grants, and what belongs to another client."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from meshkit.core.clock import ManualClock
from meshkit.core.ids import new_id
from meshkit.rpc.tokens import TokenIssuer, ensure_keys
from tests.edge.http.document import DOCUMENT, OPERATIONS
from tests.edge.http.front import (
    BERLIN,
    HOUR,
    SCOPES,
    CheckingClient,
    Front,
    assert_problem,
    counters,
    line,
    make_goods,
    nothing_done,
    open_checkout,
)
from tests.processes import ISSUER

PUBLIC: Final = "StorefrontService.GetStorefrontAvailability"


def issued(key_file: Path, *, issuer: str = ISSUER, seconds_ago: int = 0, lifetime_seconds: int = 600) -> str:
    """A token with every scope."""
    clock = ManualClock(datetime.now(UTC) - timedelta(seconds=seconds_ago))
    return TokenIssuer.from_key_file(key_file, issuer=issuer, clock=clock).issue(
        subject="user:ann", client_id="client:test", scopes=SCOPES, lifetime_seconds=lifetime_seconds
    )


def altered(token: str, **claims: object) -> str:
    """The token with other claims under the same signature."""
    head, body, signature = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(body + "=="))
    body = base64.urlsafe_b64encode(json.dumps(found | claims).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


def unsigned(token: str) -> str:
    """The token's claims, with a head that says that nobody needs to sign."""
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{head}.{token.split('.')[1]}."


async def test_without_a_valid_token_nothing_is_told_and_nothing_done(
    front: Front, api: CheckingClient, tmp_path: Path
) -> None:
    own = front.mesh.keys.signing_key_file
    good = issued(own)
    sku = await make_goods(api)
    (await api.get("/v1/skus", authorization=f"bearer {good}")).ok()
    async with nothing_done(api):
        for authorization in (
            "", "Bearer", "Bearer ", "Bearer x", f"Basic {good}", f"{good}", f"Bearer {good}x", "Bearer a.b.c",
            f"Bearer {'x' * 20_000}",
            f"Bearer {issued(ensure_keys(tmp_path).signing_key_file)}",  # another deployment's key
            f"Bearer {issued(own, issuer='somebody')}",
            f"Bearer {issued(own, seconds_ago=601)}",
            f"Bearer {issued(own, seconds_ago=-300)}",  # made in the future
            f"Bearer {altered(good, client_id='client:other')}",
            f"Bearer {altered(issued(own, seconds_ago=601), exp=4_102_444_800)}",
            f"Bearer {unsigned(good)}",
        ):  # fmt: skip
            for method, target, body in (("GET", "/v1/skus", None), ("POST", "/v1/checkouts", {"lines": [line(sku)]})):
                reply = await api.ask(method, target, body, headers={"authorization": authorization})
                assert_problem(reply, 401, "UNAUTHENTICATED")
                assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS.keys() - {PUBLIC}))
async def test_every_route_wants_a_token_with_its_scopes(front: Front, operation_id: str) -> None:
    method, path = OPERATIONS[operation_id]
    target = path.replace("{", "").replace("}", "")
    needed = frozenset(DOCUMENT["paths"][path][method.lower()]["x-scopes"])
    assert needed
    async with front.client("") as stranger:
        assert_problem(await stranger.ask(method, target, b"not even JSON"), 401, "UNAUTHENTICATED")
    for scope in needed:
        async with front.client(front.token(scopes=SCOPES - {scope})) as caller:
            problem = assert_problem(await caller.ask(method, target, b"not even JSON"), 403, "MISSING_SCOPE")
            assert problem["metadata"] == {"scopes": scope}


async def test_an_own_price_needs_its_own_scope(front: Front, api: CheckingClient) -> None:
    sku = await make_goods(api)
    dollar = {"minor": "100", "currency": "USD"}
    async with front.client(front.token(scopes=SCOPES - {"promo.price.override"})) as caller, nothing_done(api):
        for path, own in (("/v1/carts:evaluate", {"sku": sku, "quantity": 1}), ("/v1/checkouts", line(sku))):
            reply = await caller.post(path, {"lines": [own | {"unitPrice": dollar}]})
            problem = assert_problem(reply, 403, "MISSING_SCOPE")
            assert problem["metadata"] == {"scopes": "promo.price.override"}
    assert await counters(api, sku) == (10, 0, 0)


async def test_a_grant_of_other_channels_or_locations_does_not_hold_here(front: Front, api: CheckingClient) -> None:
    sku = await make_goods(api)
    for token, metadata in (
        (front.token(channels=frozenset({"app"})), {"channel": "default"}),
        (front.token(locations=frozenset({"PARIS"})), {"location": BERLIN}),
    ):
        async with front.client(token) as caller, nothing_done(api):
            for path in ("/v1/reservations", "/v1/checkouts"):
                reply = await caller.post(path, {"lines": [line(sku)], "ttl": HOUR})
                assert assert_problem(reply, 403, "OUTSIDE_GRANT")["metadata"] == metadata
    assert await counters(api, sku) == (10, 0, 0)


async def test_what_belongs_to_another_client_is_not_there(front: Front, api: CheckingClient) -> None:
    sku = await make_goods(api)
    checkout = await open_checkout(api, sku, 2)
    path = f"/v1/checkouts/{checkout['checkoutId']}"
    held = f"/v1/reservations/{checkout['reservationId']}"
    order = {"orderReference": "stolen"}
    async with front.client(front.token("client:other")) as other, nothing_done(api):
        for reply in (
            await other.get(path), await other.post(f"{path}:confirm", order), await other.post(f"{path}:cancel", {}),
        ):  # fmt: skip
            assert assert_problem(reply, 404, "UNKNOWN_CHECKOUT")["metadata"] == {"checkout_id": checkout["checkoutId"]}
        for reply in (
            await other.get(held), await other.post(f"{held}:commit", order), await other.post(f"{held}:release", {}),
            await other.post(f"{held}:extend", {"ttl": HOUR}),
        ):  # fmt: skip
            assert_problem(reply, 404, "UNKNOWN_RESERVATION")
        assert (await other.get("/v1/checkouts")).ok()["checkouts"] == []
        assert (await other.get(f"/v1/reservations?sku={sku}")).ok()["reservations"] == []
    assert (await api.get(path)).ok()["checkout"] == checkout
    assert await counters(api, sku) == (10, 2, 0)


async def test_a_request_id_is_its_client_s_own(front: Front, api: CheckingClient) -> None:
    sku = await make_goods(api)
    body = {"requestId": new_id(), "lines": [line(sku)], "ttl": HOUR}
    mine = (await api.post("/v1/checkouts", body)).ok()["checkout"]
    async with front.client(front.token("client:other")) as other:
        theirs = (await other.post("/v1/checkouts", body)).ok()["checkout"]
    assert theirs["checkoutId"] != mine["checkoutId"]
    assert await counters(api, sku) == (10, 2, 0)
