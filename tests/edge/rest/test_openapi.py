# ruff: noqa: ANN401 — JSON is anything
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.rest.descriptions import read_descriptions
from edge_gateway.rest.docs_page import docs_page
from edge_gateway.rest.openapi import openapi_document, render
from edge_gateway.rest.problems import TYPE_PREFIX
from meshkit.rpc.options import read_policies
from tests.edge.rest.client import kitchen_client
from tests.edge.rest.kitchen import KITCHEN
from tests.edge.rest.messages import SERVICES

MESH = openapi_document(SERVICES, title="Beautymesh", version="1", descriptions=read_descriptions())
TESTS = openapi_document(
    [KITCHEN],
    title="Kitchen",
    version="1",
    descriptions={
        f"{KITCHEN.full_name}.Find": "Finds things by `sku_code`. Fast.\nFails with <NOTHING>.",
        "meshtest.rest.v1.FindRequest.min_revision": "Wait for it.",
        "meshtest.rest.v1.Inner": "What is inside.",
    },
)
SCHEMAS: dict[str, Any] = MESH["components"]["schemas"]


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def parameters(operation: Any, place: str) -> dict[str, Any]:
    return {each["name"]: each for each in operation["parameters"] if each["in"] == place}


def test_every_rpc_with_a_route_is_an_operation_named_by_service_and_rpc() -> None:
    found = {operation["operationId"] for _, _, operation in operations(MESH)}
    annotated = {
        f"{service.name}.{method.name}"
        for service in SERVICES
        for method in service.methods
        if "/v1/" in str(method.GetOptions())
    }
    assert found == annotated
    assert len(found) == sum(1 for _ in operations(MESH))


def test_names_that_others_rely_on_are_there() -> None:
    found = {f"{method.upper()} {path}" for method, path, _ in operations(MESH)}
    assert found >= {
        "POST /v1/skus:batchUpsert",
        "POST /v1/locations:batchUpsert",
        "POST /v1/prices:batchUpsert",
        "POST /v1/stock:receive",
        "POST /v1/stock:adjust",
        "POST /v1/stock:set",
        "GET /v1/skus/{sku}/availability",
        "POST /v1/availability:batchGet",
        "GET /v1/stock/levels",
        "GET /v1/stock/events",
        "GET /v1/stock:watch",
        "POST /v1/reservations",
        "POST /v1/reservations:batchReserve",
        "GET /v1/reservations/{reservationId}",
        "POST /v1/reservations/{reservationId}:commit",
        "POST /v1/reservations/{reservationId}:release",
        "POST /v1/reservations/{reservationId}:extend",
        "POST /v1/reservations/{reservationId}:ship",
        "POST /v1/carts:evaluate",
        "POST /v1/campaigns",
        "GET /v1/campaigns",
        "POST /v1/campaigns/{campaignId}/promotions",
        "POST /v1/campaigns/{campaignId}/coupons",
        "PUT /v1/profiles/{profileId}",
        "GET /v1/profiles/{profileId}",
        "POST /v1/profiles/{profileId}/purchases",
        "GET /v1/profiles/{profileId}/purchases",
        "POST /v1/checkouts",
        "GET /v1/checkouts/{checkoutId}",
        "POST /v1/checkouts/{checkoutId}:confirm",
        "POST /v1/checkouts/{checkoutId}:cancel",
    }


def test_every_reference_leads_somewhere() -> None:
    for document in (MESH, TESTS):
        for reference in re.findall(r'"\$ref":"#/([^"]+)"', render(document).decode()):
            found: Any = document
            for part in reference.split("/"):
                found = found[part]
            assert found


def test_every_path_variable_is_a_required_parameter() -> None:
    for document in (MESH, TESTS):
        for _, path, operation in operations(document):
            found = parameters(operation, "path")
            assert list(found) == re.findall(r"\{([^}]+)\}", path)
            assert all(each["required"] for each in found.values())


def test_security_is_what_the_options_say() -> None:
    policies = {policy.name.rpartition(".")[2].replace("/", "."): policy for policy in read_policies(SERVICES).values()}
    for _, _, operation in operations(MESH):
        policy = policies[operation["operationId"]]
        scopes = sorted(policy.scopes)
        assert (operation["security"], operation["x-scopes"]) == ([] if policy.public else [{"bearer": scopes}], scopes)
        assert ("401" in operation["responses"]) == (not policy.public)


def problems(operation: Any) -> dict[str, list[str]]:
    """The reasons of each status, from the types that the document allows."""
    found = {}
    for status, answer in operation["responses"].items():
        if status not in ("200", "304", "default"):
            name = answer.get("$ref", "").removeprefix("#/components/responses/")
            answer = MESH["components"]["responses"][name] if name else answer  # noqa: PLW2901 — the same answer
            general, own = answer["content"]["application/problem+json"]["schema"]["allOf"]
            assert general == {"$ref": "#/components/schemas/Problem"}
            found[status] = [each.removeprefix(TYPE_PREFIX) for each in own["properties"]["type"]["enum"]]
    return found


TOKEN = {"401": ["unauthenticated"], "403": ["missing-scope", "outside-grant"]}
BODY = {"408": ["body-too-slow"], "413": ["body-too-large"], "415": ["unsupported-media-type"]}
ANY = {"400": ["invalid-request"], "406": ["not-acceptable"], "500": ["internal"], "503": ["unavailable"]}
UNARY = {"504": ["deadline-exceeded"]}
QUEUE = {"429": ["too-many-requests"]}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        (
            "post",
            "/v1/reservations",
            TOKEN | BODY | ANY | UNARY | QUEUE
            | {
                "404": ["unknown-sku", "unknown-location", "unknown-channel"],
                "409": ["insufficient-stock", "id-taken"],
                "422": ["request-id-reused"],
            },
        ),
        (
            "get",
            "/v1/skus",
            TOKEN | ANY | UNARY
            | {"400": ["invalid-request", "invalid-page-token"], "503": ["unavailable", "revision-not-yet-visible"]},
        ),
        (
            "get",
            "/v1/stock:watch",
            TOKEN | ANY
            | {"400": ["invalid-request", "resume-token-invalid"], "410": ["resume-token-foreign"]},
        ),
        ("post", "/v1/stock:verify", TOKEN | BODY | ANY),
        (
            "get",
            "/v1/storefront/skus/{sku}/availability",
            ANY | UNARY | QUEUE | {"404": ["route-not-found", "unknown-sku", "unknown-channel"]},
        ),
        (
            "get",
            "/v1/checkouts/{checkoutId}",  # where the id is `x:confirm`, it is another path
            TOKEN | ANY | UNARY
            | {"404": ["route-not-found", "unknown-checkout"], "405": ["method-not-allowed"]},
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_operation_lists_the_problems_that_it_can_answer_and_no_others(
    method: str, path: str, expected: dict[str, list[str]]
) -> None:
    assert problems(MESH["paths"][path][method]) == expected


def test_what_many_operations_can_answer_stands_once() -> None:
    queue = MESH["paths"]["/v1/skus/{sku}/availability"]["get"]["responses"]["429"]
    assert queue == {"$ref": "#/components/responses/Problem.429"}
    command = MESH["paths"]["/v1/reservations"]["post"]["responses"]["429"]
    assert command == {"$ref": "#/components/responses/CommandProblem.429"}


def test_answers_declare_the_headers_that_they_bring() -> None:
    def brought(path: str, method: str, status: str) -> list[str]:
        answer = MESH["paths"][path][method]["responses"][status]
        name = answer.get("$ref", "").removeprefix("#/components/responses/")
        return list((MESH["components"]["responses"][name] if name else answer)["headers"])

    cached = "/v1/skus/{sku}/availability"
    assert brought(cached, "get", "200") == ["Cache-Control", "Vary", "ETag", "Age", "Cache-Status"]
    assert brought(cached, "get", "304") == brought(cached, "get", "200")
    assert brought(cached, "get", "503") == ["Cache-Control", "Retry-After"]
    assert brought(cached, "get", "401") == ["Cache-Control", "WWW-Authenticate"]
    assert brought("/v1/checkouts", "post", "200") == ["Cache-Control", "Idempotency-Key"]
    assert brought("/v1/checkouts", "post", "429") == ["Cache-Control", "Retry-After", "Idempotency-Key"]
    assert brought("/v1/stock:watch", "get", "200") == ["Cache-Control", "X-Accel-Buffering"]
    assert list(MESH["components"]["responses"]["Problem.405"]["headers"]) == ["Cache-Control", "Allow"]


def test_what_is_for_services_only_is_not_there() -> None:
    assert set(SCHEMAS["common.v1.CommandContext"]["properties"]) == {"reference"}
    assert "common.v1.SagaFence" not in SCHEMAS


def test_schema_is_named_by_its_full_name_and_bounded_by_the_rules() -> None:
    line = SCHEMAS["inventory.v1.ReserveLine"]
    assert line["additionalProperties"] is False
    assert line["required"] == ["sku", "location", "quantity"]
    assert line["properties"]["sku"] == {
        "description": "The SKU.",
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": "^[^\\x00-\\x1f\\x7f]*$",
    }
    assert line["properties"]["quantity"] == {
        "description": "Units, 1 to 10^9.",
        "type": "string",
        "format": "int64",
        "pattern": "^([1-9][0-9]*)$",
        "maxLength": 10,
        "x-minimum": "1",
        "x-maximum": "1000000000",
    }
    request = SCHEMAS["inventory.v1.ReserveStockRequest"]
    assert (request["properties"]["lines"]["minItems"], request["properties"]["lines"]["maxItems"]) == (1, 1000)
    assert request["properties"]["ttl"]["x-maximum"] == "86400s"
    assert SCHEMAS["promo.v1.ContextFacts"]["properties"]["experiments"] == {
        "description": "Experiment and its variation. Reserved: nothing gives it a meaning yet. At most 32.",
        "type": "object",
        "maxProperties": 32,
        "propertyNames": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\x00-\\x1f\\x7f]*$"},
        "additionalProperties": {"type": "string", "maxLength": 64, "pattern": "^[^\\x00-\\x1f\\x7f]*$"},
    }


@pytest.mark.parametrize(
    ("field", "pattern", "least", "most"),
    [
        ("common.v1.Money.minor", "^(0|-?[1-9][0-9]*)$", "-1000000000000000", "1000000000000000"),
        ("inventory.v1.AdjustLine.quantity", "^(-?[1-9][0-9]*)$", "-1000000000", "1000000000"),  # and not 0
        ("inventory.v1.SetLine.quantity", "^(0|[1-9][0-9]*)$", "0", "1000000000"),
        ("inventory.v1.GetReservationResponse.revision", "^(0|-?[1-9][0-9]*)$", None, None),
        ("inventory.v1.ReserveStockRequest.ttl", "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$", "1s", "86400s"),
        ("promo.v1.Price.validFrom", None, "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    ],
    ids=lambda each: each.rpartition(".v1.")[2] if isinstance(each, str) and ".v1." in each else "",
)
def test_bounds_that_are_tighter_than_the_type_are_told(
    field: str, pattern: str | None, least: str | None, most: str | None
) -> None:
    message, _, name = field.rpartition(".")
    found = SCHEMAS[message]["properties"][name]
    assert (found.get("pattern"), found.get("x-minimum"), found.get("x-maximum")) == (pattern, least, most)


def test_rules_in_cel_are_told_with_the_id_and_the_message_of_a_refusal() -> None:
    assert SCHEMAS["inventory.v1.ReserveStockRequest"]["x-rules"] == [
        {"id": "reserve.one_expiry", "message": "ttl and expire_time exclude each other"}
    ]
    assert SCHEMAS["promo.v1.Benefit"]["properties"]["amountOff"]["x-rules"] == [
        {"id": "benefit.amount_is_positive", "message": "must be above zero"}
    ]


def test_request_id_may_be_left_to_the_edge_and_a_path_variable_to_the_path() -> None:
    commit = SCHEMAS["inventory.v1.CommitReservationRequest"]
    assert (commit["required"], "reservationId" in commit["properties"]) == (["orderReference"], False)
    operation = MESH["paths"]["/v1/reservations/{reservationId}:commit"]["post"]
    assert list(parameters(operation, "header")) == ["Idempotency-Key"]
    assert operation["requestBody"]["required"] is True
    assert MESH["paths"]["/v1/reservations/{reservationId}:release"]["post"]["requestBody"]["required"] is False


def test_answer_requires_what_is_always_written() -> None:
    answer = SCHEMAS["inventory.v1.GetAvailabilityResponse"]
    assert (answer["required"], "additionalProperties" in answer) == (["revision"], False)


def test_value_that_a_rule_excludes_is_in_no_enumeration() -> None:
    reason = SCHEMAS["inventory.v1.AdjustStockRequest"]["properties"]["reason"]["enum"]
    assert not any(each.endswith("_UNSPECIFIED") for each in reason)
    assert "reason" in SCHEMAS["inventory.v1.AdjustStockRequest"]["required"]


def test_choice_says_that_it_is_one() -> None:
    place = [{"required": ["storeCode"]}, {"required": ["cityName"]}]
    found = TESTS["components"]["schemas"]["meshtest.rest.v1.FindRequest"]["allOf"]
    assert found == [{"oneOf": [*place, {"not": {"anyOf": place}}]}]
    benefit = SCHEMAS["promo.v1.Benefit"]["allOf"]  # required by its rule
    assert ["not" in each for each in benefit[0]["oneOf"]] == [False] * len(benefit[0]["oneOf"])


def test_query_parameters_are_the_fields_that_a_query_can_set() -> None:
    operation = TESTS["paths"]["/v1/things/{skuCode}"]["get"]
    query = parameters(operation, "query")
    assert list(query) == [
        "filter.skus",
        "filter.omitLevels",
        "filter.inner.skuCode",
        "filter.inner.quantity",
        "shade",
        "minRevision",
        "fromTime",
        "maxAge",
        "shades",
        "wrapped",
        "times",
        "storeCode",
        "cityName",
    ]
    assert query["filter.skus"]["schema"] == {"type": "array", "items": {"type": "string"}, "maxItems": 3}
    assert query["minRevision"]["description"] == "Wait for it."
    assert list(parameters(operation, "header")) == ["If-None-Match"]
    second = TESTS["paths"]["/v1/filters/{filter.inner.skuCode}/things"]["get"]
    assert (second["operationId"], "filter.inner.skuCode" in parameters(second, "query")) == (
        "KitchenService.Find.2",
        False,
    )
    field = TESTS["paths"]["/v1/things/{thingId}/filter"]["put"]
    assert field["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/meshtest.rest.v1.Filter"
    }
    assert list(parameters(field, "query")) == ["requestId"]


def test_stream_is_an_event_stream() -> None:
    operation = MESH["paths"]["/v1/stock:watch"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert "Last-Event-ID" in parameters(operation, "header")
    assert "inventory.v1.WatchStockResponse" in SCHEMAS


def test_comments_are_descriptions() -> None:
    find = TESTS["paths"]["/v1/things/{skuCode}"]["get"]
    assert (find["summary"], find["description"]) == (
        "Finds things by `sku_code`",
        "Finds things by `sku_code`. Fast.\nFails with <NOTHING>.",
    )
    assert TESTS["components"]["schemas"]["meshtest.rest.v1.Inner"]["description"] == "What is inside."


async def test_answers_have_exactly_the_members_that_the_schema_knows(tmp_path: Path) -> None:
    response = await kitchen_client(tmp_path).get("/v1/things/A?fromTime=2026-03-01T12:00:00Z&storeCode=x")
    schema = TESTS["components"]["schemas"]["meshtest.rest.v1.FindRequest"]
    found = response.json()["found"]
    assert found.keys() <= schema["properties"].keys()
    problem = (await kitchen_client(tmp_path).get("/v1/things/A?nope=1")).json()
    assert set(TESTS["components"]["schemas"]["Problem"]["required"]) <= problem.keys()
    assert problem.keys() <= TESTS["components"]["schemas"]["Problem"]["properties"].keys()


class TestDocsPage:
    page = docs_page(MESH).decode()

    def test_page_shows_every_operation_and_schema(self) -> None:
        for _, path, operation in operations(MESH):
            assert f'id="{operation["operationId"]}"' in self.page
            assert f"<code>{path}</code>" in self.page
        for name in SCHEMAS:
            assert f'class="schema" id="{name}"' in self.page

    def test_page_says_which_reasons_a_status_has(self) -> None:
        row = "<td>404</td><td><code>ROUTE_NOT_FOUND</code>, <code>UNKNOWN_CHECKOUT</code></td>"
        assert row in self.page

    def test_page_says_bounds_below_zero_and_rules(self) -> None:
        assert "int64 <small>-1000000000…1000000000</small>" in self.page
        assert "<p>Rule: ttl and expire_time exclude each other</p>" in self.page
        assert "(must be above zero)" in self.page

    def test_page_asks_the_network_for_nothing(self) -> None:
        assert re.findall(r"""(?:src|href)=["']?(?!#|/openapi\.json)([^"'> ]+)""", self.page) == []
        assert "@import" not in self.page
        assert "url(" not in self.page
        assert "{{" not in self.page

    def test_every_link_within_the_page_leads_somewhere(self) -> None:
        targets = set(re.findall(r'id="([^"]+)"', self.page))
        assert set(re.findall(r'href="#([^"]+)"', self.page)) <= targets

    def test_what_the_contract_says_is_text_not_markup(self) -> None:
        page = docs_page(TESTS).decode()
        assert "<NOTHING>" not in page
        assert "&lt;NOTHING&gt;" in page
        assert "by <code>sku_code</code>" in page

    def test_example_is_a_request_that_the_rules_allow(self) -> None:
        example = re.search(r'id="InventoryService.ReserveStock".*?<pre>(.*?)</pre>', self.page, re.DOTALL)
        assert example is not None
        body = json.loads(example[1].partition("&#x27;")[2].partition("&#x27;")[0].replace("&quot;", '"'))
        assert body == {"lines": [{"sku": "string", "location": "string", "quantity": "1"}]}


@pytest.mark.parametrize("document", [MESH, TESTS], ids=["mesh", "tests"])
def test_document_is_plain_json(document: Any) -> None:
    assert json.loads(render(document)) == document
    assert document["openapi"] == "3.1.0"
