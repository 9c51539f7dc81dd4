from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from edge_gateway.rest.problems import TransportProblem, problem_of
from meshkit.core.errors import (
    TABLE,
    FieldViolation,
    InternalError,
    InvalidRequest,
    Kind,
    MeshError,
    MissingScope,
    RequestIdReused,
    ResumeTokenForeign,
    StaleFence,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from meshkit.rpc.status import class_for

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def told(fault: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    problem = problem_of(fault, traceparent=TRACEPARENT, route="GET /x")
    assert dict(problem.headers)[b"content-length"] == str(len(problem.body)).encode()
    headers = {name.decode(): value.decode() for name, value in problem.headers if name != b"content-length"}
    return problem.status, json.loads(problem.body), headers


def test_problem_has_all_members_of_the_error() -> None:
    error = InvalidRequest(
        "lines[3].unitPrice: must be positive",
        metadata={"violations": "1"},
        violations=(FieldViolation("lines[3].unitPrice", "must be positive"),),
    )
    assert told(error) == (
        400,
        {
            "type": "urn:beautymesh:problem:invalid-request",
            "title": "The request is not valid",
            "status": 400,
            "reason": "INVALID_REQUEST",
            "detail": "lines[3].unitPrice: must be positive",
            "metadata": {"violations": "1"},
            "violations": [{"field": "lines[3].unitPrice", "description": "must be positive"}],
            "traceId": "a" * 32,
        },
        {"content-type": "application/problem+json", "cache-control": "no-store"},
    )


@pytest.mark.parametrize("kind", [each for each in Kind if each is not Kind.INTERNAL], ids=lambda each: each.name)
def test_status_and_title_come_from_the_one_table(kind: Kind) -> None:
    status, body, _ = told(class_for(kind, "SOME_REASON")("said"))
    assert (status, body["title"], body["detail"]) == (TABLE[kind].http_status, TABLE[kind].title, "said")
    assert body["type"] == "urn:beautymesh:problem:some-reason"


STATUSES: list[tuple[MeshError, int]] = [
    (Unauthenticated("x"), 401),
    (MissingScope("x"), 403),
    (StaleFence("x"), 409),
    (RequestIdReused("x"), 422),
    (ResumeTokenForeign("x"), 410),
    (TooManyRequests("x"), 429),
    (Unavailable("x"), 503),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda each: type(each).__name__)
def test_known_error_has_its_status(error: MeshError, status: int) -> None:
    assert told(error)[0] == status


RETRIES: list[tuple[MeshError, str | None]] = [
    (TooManyRequests("x"), "1"),
    (Unavailable("x"), "1"),
    (Unavailable("x", retry_seconds=2.1), "3"),
    (Unavailable("x", retry_seconds=0.0), "1"),
    (InvalidRequest("x"), None),
    (InvalidRequest("x", retry_seconds=5.0), "5"),
]


@pytest.mark.parametrize(("error", "seconds"), RETRIES)
def test_retry_advice_is_whole_seconds_rounded_up(error: MeshError, seconds: str | None) -> None:
    assert told(error)[2].get("retry-after") == seconds


def test_missing_token_says_which_scheme_is_wanted() -> None:
    assert told(Unauthenticated("x"))[2]["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("fault", [KeyError("secret"), InternalError("secret"), MeshError("secret")])
def test_our_own_fault_says_nothing_and_is_logged_once(fault: Exception) -> None:
    with structlog.testing.capture_logs() as lines:
        status, body, _ = told(fault)
    assert (status, body) == (
        500,
        {
            "type": "urn:beautymesh:problem:internal",
            "title": "Our fault",
            "status": 500,
            "reason": "INTERNAL",
            "traceId": "a" * 32,
        },
    )
    assert [(line["log_level"], line["exc_info"], line["http_route"]) for line in lines] == [("error", fault, "GET /x")]


def test_refusal_is_logged_at_debug_level_only() -> None:
    with structlog.testing.capture_logs() as lines:
        told(InvalidRequest("x"))
    assert [line["log_level"] for line in lines] == ["debug"]


def test_fault_of_http_alone_has_a_status_of_its_own() -> None:
    status, body, headers = told(TransportProblem.method_not_allowed("GET"))
    assert (status, body["reason"], body["title"]) == (405, "METHOD_NOT_ALLOWED", "The path does not know this method")
    assert headers["allow"] == "GET"
