from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.rest.exchange import Exchange
from edge_gateway.rest.spelling import Spelling, json_path
from meshkit.core.errors import FieldViolation, InvalidRequest, MeshError, RequestIdReused, StaleFence
from tests.edge.rest.client import kitchen_client
from tests.edge.rest.kitchen import DoRequest

PATHS = [
    ("lines[3].quantity", "lines[3].quantity"),
    ("request_id", "requestId"),
    ("lines[3].unit_price.currency_code", "lines[3].unitPrice.currencyCode"),
    ('labels["a_b"].sku_code', 'labels["a_b"].skuCode'),
    ('labels["a\\"_b"]', 'labels["a\\"_b"]'),
    ("a_1", "a1"),
    ("", ""),
]


@pytest.mark.parametrize(("path", "spelled"), PATHS)
def test_path_is_spelled_as_in_json(path: str, spelled: str) -> None:
    assert json_path(path) == spelled


SPELLING = Spelling(DoRequest.DESCRIPTOR)
TEXTS = [
    ("request_id: is empty", "requestId: is empty"),
    ("thing_id and request_id exclude each other", "thingId and requestId exclude each other"),
    ("lines[0].sku_code: is empty (and 3 more)", "lines[0].skuCode: is empty (and 3 more)"),
    ("filter.inner.sku_code", "filter.inner.skuCode"),
    ("SKU foo_bar is not known", "SKU foo_bar is not known"),
    ("my_request_id, request_ids and Request_id", "my_request_id, request_ids and Request_id"),
]


@pytest.mark.parametrize(("text", "spelled"), TEXTS)
def test_names_of_the_requests_fields_are_spelled_in_texts_and_nothing_else(text: str, spelled: str) -> None:
    error = InvalidRequest(text, violations=(FieldViolation("a_b", text),))
    made = SPELLING.of(error)
    assert (made.message, made.violations) == (spelled, (FieldViolation("aB", spelled),))
    assert error.message == text


def test_first_field_that_differs_is_spelled() -> None:
    error = RequestIdReused("r was used with another thing_id", metadata={"request_id": "a_b", "field": "thing_id"})
    made = SPELLING.of(error)
    assert type(made) is RequestIdReused
    assert (made.message, made.metadata) == (
        "r was used with another thingId",
        {"request_id": "a_b", "field": "thingId"},
    )


def test_refusals_that_are_about_values_stay() -> None:
    error: MeshError = StaleFence("thing_id", metadata={"field": "thing_id"})
    assert SPELLING.of(error) is error


async def test_callers_own_key_is_repeated_as_it_came(tmp_path: Path) -> None:
    response = await kitchen_client(tmp_path).post("/v1/things/A:do", {"foo_bar": 1})
    assert (response.status, response.fields, response.json()["detail"]) == (400, ["foo_bar"], "foo_bar: is not known")
    asked = await kitchen_client(tmp_path).get("/v1/things/A?foo_bar=1")
    assert asked.fields == ["foo_bar"]


async def test_refusal_of_a_stream_is_spelled_too(tmp_path: Path) -> None:
    async def refuse(request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:  # noqa: ANN401 — see the kitchen
        if request is not None:
            raise InvalidRequest.of("resume_token", "is not one of ours")
        yield request

    response = await kitchen_client(tmp_path, Watch=refuse).get("/v1/things:watch")
    assert (response.fields, response.json()["detail"]) == (["resumeToken"], "resumeToken: is not one of ours")
