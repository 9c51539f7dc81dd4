"""The running mesh keeps its own OpenAPI document: no request, good or bad, gets an answer that is not in it.

Schemathesis makes the requests from the document: the bounds of every field, from both sides (each third of them at
the quick size), and some at random; the same in every run. What is good by the document mostly asks for things that
nobody knows, so it is sent a second time about things that exist. What each RPC answers when all goes well is held
against the document in `test_walk.py`.
"""
# ruff: noqa: ANN401 — JSON is anything

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error

from tests.edge.http.document import CHECKS, OPERATIONS, SCHEMA, SERVED_BYTES
from tests.edge.http.front import BERLIN, HOUR, Front, line, make_goods, open_checkout, standing_front
from tests.embedded import Embedded
from tests.sizes import SIZES

AT_RANDOM: Final = settings(
    max_examples=SIZES.schema_examples,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
"""Some requests to each operation beyond those at every bound of every field, of which there are about a hundred."""

ANSWER_SECONDS_MAX: Final = 9.0
"""Less than the edge's own deadline."""

EVERY_CHECK: Final = [not_a_server_error, *CHECKS]
"""Left out of those that schemathesis has are

* `negative_data_rejection`: canonical ProtoJSON takes more than the document shows (null for what is not set, a number
  for 64 bits in a string, snake_case), so that some of what it calls bad is good;
* `positive_data_acceptance`: what the document cannot say is refused as well (bounds of 64-bit numbers and of times,
  rules over two fields, CEL that does not compile, a page token that was never given out);
* `unsupported_method`, `ignored_auth`: `test_bad_input.py` asks every route without a token and with another method;
* those that follow a resource from one request to the next: `test_walk.py`.
"""

KNOWN: Final[dict[str, Any]] = {
    "sku": "A/1", "skus": ["A/1", "Ç 2"], "location": BERLIN, "locations": [BERLIN], "quantity": "1",
    "channel": "default", "channels": ["default"], "currency": "USD", "profileId": "p-1",
    "campaignId": "c-1", "promotionId": "o-1", "couponCode": "SPRING", "couponCodes": ["spring"],
    "reservationId": "r-1", "redemptionId": "d-1", "ttl": HOUR,
    "startTime": "2026-01-01T00:00:00Z", "endTime": "2100-01-01T00:00:00Z",
}  # fmt: skip
"""What the mesh holds, by the name that requests give it."""

EXCEPT: Final[dict[str, dict[str, Any]]] = {
    "InventoryService.SetStock": {"quantity": str(10**9)},
    "InventoryService.ReserveStock": {"reservationId": ""},
    "PromoService.HoldRedemption": {"redemptionId": ""},
    "PromoService.CreateCampaign": {"campaignId": ""},
    "PromoService.CreatePromotion": {"promotionId": ""},
    "PromoService.EndCampaign": {"campaignId": "c-2"},
}
"""Where something else is needed: a new one, or one that nobody else needs."""

FRESH: Final = frozenset({
    "requestId", "Idempotency-Key", "pageToken", "resumeToken", "Last-Event-ID", "saga", "expireTime",
})  # fmt: skip
"""What would make a request a repeat, a page of a list that nobody began, late in a saga, or long expired."""

WAITING: Final = {"minRevision": "1", "skipSnapshot": "false"}
"""Whoever asks for a revision that is far away, or for what changes from now on, waits for it: that is meant so."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A session with every scope at a mesh that holds what is in `known`."""

    url: str
    session: requests.Session
    known: dict[str, Any]

    def ask(self, case: Case[Any]) -> None:
        """Sends the request; a good one once more, about things that are known."""
        do_not_wait(case.query)
        do_not_wait(case.body)
        self.send(case)
        if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
            self.send(about(case, self.known))

    def send(self, case: Case[Any]) -> None:
        """Sends the request and checks the answer."""
        case.call_and_validate(base_url=self.url, session=self.session, checks=EVERY_CHECK, timeout=ANSWER_SECONDS_MAX)


@pytest.fixture(scope="module")
def front(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A mesh of its own: what is made at random here is no other test's business."""
    with standing_front(embedded, tmp_path_factory.mktemp("mesh")) as standing:
        yield standing


@pytest.fixture(scope="module")
def caller(front: Front) -> Iterator[Caller]:
    checkout_id = asyncio.run(fill(front))
    with requests.Session() as session:
        session.headers["authorization"] = f"Bearer {front.token()}"
        yield Caller(front.url, session, {**KNOWN, "checkoutId": checkout_id})


async def fill(front: Front) -> str:
    """Makes what is in `KNOWN`, and a checkout, whose id it returns."""
    async with front.client() as api:
        for sku in KNOWN["skus"]:
            await make_goods(api, 10**9, sku=sku)
        (await api.ask("PUT", "/v1/profiles/p-1", {"tags": ["vip"]})).ok()
        for campaign in ("c-1", "c-2"):
            (await api.post("/v1/campaigns", {"campaignId": campaign, "name": "Spring"})).ok()
        offer = {"promotionId": "o-1", "name": "-20 %", "benefit": {"percentOffBasisPoints": 2000}, "needsCoupon": True}
        (await api.post("/v1/campaigns/c-1/promotions", offer)).ok()
        (await api.post("/v1/campaigns/c-1/coupons", {"promotionId": "o-1", "codes": ["SPRING"]})).ok()
        (await api.post("/v1/reservations", {"reservationId": "r-1", "lines": [line("A/1")], "ttl": HOUR})).ok()
        offers = [{"promotionId": "o-1", "couponCode": "SPRING"}]
        (await api.post("/v1/redemptions", {"redemptionId": "d-1", "offers": offers, "ttl": HOUR})).ok()
        checkout = await open_checkout(api, "A/1", couponCodes=["spring"], profileId="p-1")
        return str(checkout["checkoutId"])


def test_the_mesh_serves_the_document_that_its_contract_makes(front: Front) -> None:
    served = requests.get(f"{front.url}/openapi.json", timeout=ANSWER_SECONDS_MAX)
    assert (served.status_code, served.headers["content-type"]) == (200, "application/json")
    assert served.content == SERVED_BYTES


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_answer_is_in_the_document(operation_id: str, caller: Caller) -> None:
    method, path = OPERATIONS[operation_id]
    operation = SCHEMA[path][method]
    generation = SCHEMA.config.generation_for(operation=operation)
    bounds = SCHEMA.iter_coverage_cases(operation, generation_modes=generation.modes, generation_config=generation)
    for case in islice(bounds, None, None, SIZES.schema_bounds_step):
        caller.ask(case)

    @AT_RANDOM
    @given(case=st.sampled_from(generation.modes).flatmap(operation.as_strategy))
    def ask_at_random(case: Case[Any]) -> None:
        caller.ask(case)

    ask_at_random()


def do_not_wait(container: object) -> None:
    for name, value in WAITING.items():
        if isinstance(container, dict) and re.fullmatch("[0-9]+|true", str(container.get(name))):
            container[name] = value


def about(case: Case[Any], known: dict[str, Any]) -> Case[Any]:
    """The same request, about things that are known."""
    names = known | EXCEPT.get(str(case.operation.definition.raw["operationId"]), {})
    path = {name: quote(text, safe="") for name, text in grounded(case.path_parameters, names).items()}
    made: Case[Any] = case.operation.Case(
        path_parameters=path,
        query=grounded(case.query, names),
        headers=grounded(dict(case.headers), names),
        body=grounded(case.body, names),
        media_type=case.media_type,
    )
    return made


def grounded(value: Any, names: dict[str, Any]) -> Any:
    """The value, in which all that has a name has one that is known."""
    if isinstance(value, list):
        return [grounded(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: names[name] if name in names and is_named(each) else grounded(each, names)
        for name, each in value.items()
        if name not in FRESH
    }


def is_named(value: Any) -> bool:
    """Whether it is a name, or a list of names: not a list of what has one."""
    return not isinstance(value, list) or not any(isinstance(each, dict) for each in value)
