# ruff: noqa: ANN401 — messages of a service that is compiled at run time have no type
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from edge_gateway.rest import intake
from edge_gateway.rest.app import RestApp
from edge_gateway.rest.exchange import Answer, Exchange
from edge_gateway.rest.pages import Page, fixed
from meshkit.core.errors import FieldViolation, InvalidRequest, TooManyRequests
from meshkit.core.principal import ANONYMOUS
from meshkit.rpc.call import Call, current_call
from meshkit.rpc.options import ContractFault
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.edge.rest.client import Client, kitchen_client
from tests.edge.rest.kitchen import KITCHEN, FindRequest, FindResponse, handlers


async def test_read_is_answered_in_canonical_json(client: Client) -> None:
    response = await client.get("/v1/things/a%2Fb?shade=SHADE_RED&filter.skus=x&filter.skus=y")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["content-length"] == str(len(response.body))
    found = response.json()["found"]
    assert (found["skuCode"], found["shade"], found["filter"]["skus"]) == ("a/b", "SHADE_RED", ["x", "y"])
    assert (found["minRevision"], found["shades"], "fromTime" in found) == ("0", [], False)


async def test_command_is_answered_with_its_request_id(client: Client) -> None:
    response = await client.post("/v1/things/t1:do", {"requestId": "r1", "lines": [{"sku_code": "A"}]})
    assert (response.status, response.headers["idempotency-key"]) == (200, "r1")
    assert response.json()["done"]["lines"] == [{"skuCode": "A", "quantity": "0"}]
    assert response.headers["cache-control"] == "private, no-store"


async def test_path_with_a_verb_in_its_value_is_told_from_the_verb(client: Client) -> None:
    response = await client.post("/v1/things/a%3Ado:do")
    assert response.json()["done"]["thingId"] == "a:do"


class TestRequestIds:
    ROWS = (
        # header, body, answer
        ("k1", None, "k1"),
        (None, "b1", "b1"),
        ("k1", "k1", "k1"),
        ('"k 1"', None, "k 1"),
        ("schlüssel", None, "schlüssel"),
    )

    @pytest.mark.parametrize(("header", "body", "used"), ROWS)
    async def test_header_and_body_are_one_id(
        self, client: Client, header: str | None, body: str | None, used: str
    ) -> None:
        headers = {} if header is None else {"Idempotency-Key": header}
        response = await client.post("/v1/things/t1:do", {} if body is None else {"requestId": body}, headers=headers)
        assert (response.status, response.headers["idempotency-key"]) == (200, used)
        assert response.json()["done"]["requestId"] == used

    async def test_edge_makes_an_id_where_there_is_none(self, client: Client) -> None:
        made = []
        for _ in range(2):
            response = await client.post("/v1/things/t1:do", {})
            assert response.headers["idempotency-key"] == response.json()["done"]["requestId"]
            made.append(response.headers["idempotency-key"])
        assert made[0] != made[1]
        assert [len(each) for each in made] == [36, 36]

    async def test_different_ids_are_refused(self, client: Client) -> None:
        headers = {"Idempotency-Key": "k1"}
        response = await client.post("/v1/things/t1:do", {"requestId": "b1"}, headers=headers)
        assert (response.status, response.fields) == (400, ["requestId"])
        assert response.headers["idempotency-key"] == "k1"

    async def test_two_headers_must_agree(self, client: Client) -> None:
        for second, status in (("k1", 200), ("k2", 400)):
            headers = [("Idempotency-Key", "k1"), ("Idempotency-Key", second)]
            assert (await client.post("/v1/things/t1:do", {}, headers=headers)).status == status

    @pytest.mark.parametrize("key", ["", " ", '""', "x" * 129, "a\tb"])
    async def test_header_that_can_be_no_id_is_refused(self, client: Client, key: str) -> None:
        response = await client.post("/v1/things/t1:do", {}, headers={"Idempotency-Key": key})
        assert (response.status, response.fields) == (400, ["Idempotency-Key"])
        assert "idempotency-key" not in response.headers

    async def test_problem_says_the_id_too(self, tmp_path: Path) -> None:
        async def refuse(_request: Any, _exchange: Exchange) -> Any:
            raise TooManyRequests("full")

        client = kitchen_client(tmp_path, Do=refuse)
        response = await client.post("/v1/things/t1:do", {})
        assert (response.status, response.headers["retry-after"]) == (429, "1")
        assert len(response.headers["idempotency-key"]) == 36
        response = await client.post("/v1/things/t1:do", {"nope": 1}, headers={"Idempotency-Key": "k1"})
        assert (response.status, response.headers["idempotency-key"]) == (400, "k1")

    async def test_id_that_no_header_can_hold_is_not_sent_back(self, client: Client) -> None:
        response = await client.post("/v1/things/t1:do", {"requestId": "a\r\nset-cookie: x"})
        assert "idempotency-key" not in response.headers

    async def test_read_has_no_id(self, client: Client) -> None:
        response = await client.get("/v1/things/A", headers={"Idempotency-Key": "k1"})
        assert (response.status, "idempotency-key" in response.headers) == (200, False)


DO = "/v1/things/A:do"


def typed(media_type: str, **more: str) -> dict[str, Any]:
    """A body of a media type, with more headers."""
    return {"body": b"{}", "headers": {"content-type": media_type, **{k.replace("_", "-"): v for k, v in more.items()}}}


def accepting(value: str) -> dict[str, Any]:
    return {"headers": {"accept": value}}


def lines(*given: str) -> dict[str, Any]:
    """A body and header lines as they are, repeated ones too."""
    return {"body": b"{}", "headers": [tuple(each.split(": ", 1)) for each in given]}


BAD_INPUT: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/v1/nope", {}, 404, "ROUTE_NOT_FOUND"),
    ("GET", "/v1/things/", {}, 404, "ROUTE_NOT_FOUND"),
    ("GET", "/v1/things/A/filter", {}, 405, "METHOD_NOT_ALLOWED"),
    ("BREW", "/v1/things/A", {}, 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/v1/things/%zz", {}, 400, "INVALID_REQUEST"),
    ("GET", "/v1/things/%ff", {}, 400, "INVALID_REQUEST"),
    ("GET", "/v1/things/%00", {}, 400, "INVALID_REQUEST"),
    ("GET", "/v1/things/A?nope=1", {}, 400, "INVALID_REQUEST"),
    ("GET", "/v1/things/A?shade=1&shade=1", {}, 400, "INVALID_REQUEST"),
    ("POST", DO, {"body": b"{"}, 400, "INVALID_REQUEST"),
    ("POST", DO, {"body": b'{"lines":{}}'}, 400, "INVALID_REQUEST"),
    ("POST", DO, {"body": b'{"requestId":"a\\u0000b"}'}, 400, "INVALID_REQUEST"),
    ("POST", DO, {"body": b"[" * 100 + b"]" * 100}, 400, "INVALID_REQUEST"),
    ("POST", DO, {"body": b"[" * 4000}, 400, "INVALID_REQUEST"),
    ("POST", DO, typed("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed(""), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json; charset=latin-1"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json; profile=x; charset=utf-16"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json; charset=utf-8; charset=x"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json; profile"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json" + ";  " * 2000 + "x"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, typed("application/json x=1"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, lines("content-type: application/json", "content-type: application/json"), 415,
     "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, lines("content-type: application/json; a=b", "content-type: text/plain"), 415,
     "UNSUPPORTED_MEDIA_TYPE"),
    ("GET", "/v1/things/A", lines("authorization: Bearer x", "authorization: Bearer x"), 401, "UNAUTHENTICATED"),
    ("POST", DO, typed("application/json", content_encoding="gzip"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", DO, {"body": b" " * 4097}, 413, "BODY_TOO_LARGE"),
    ("POST", DO, typed("application/json", content_length="4097"), 413, "BODY_TOO_LARGE"),
    ("GET", "/v1/things/A", accepting("text/html"), 406, "NOT_ACCEPTABLE"),
    ("GET", "/v1/things/A", accepting("application/json;q=0, text/html"), 406, "NOT_ACCEPTABLE"),
    ("GET", "/v1/things:watch", accepting("application/json"), 406, "NOT_ACCEPTABLE"),
    ("GET", "/v1/things:watch", accepting("application/problem+json"), 406, "NOT_ACCEPTABLE"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "named", "status", "reason"), BAD_INPUT)
async def test_bad_input_is_a_problem(  # noqa: PLR0917 — a table's columns
    client: Client, method: str, path: str, named: dict[str, Any], status: int, reason: str
) -> None:
    response = await client.send(method, path, **named)
    assert (response.status, response.reason) == (status, reason)
    assert response.json()["status"] == status
    assert len(response.json()["traceId"]) == 32


async def test_wrong_json_type_is_refused_with_its_path(client: Client) -> None:
    response = await client.post("/v1/things/t1:do", {"lines": [{}, {"quantity": True}]})
    assert (response.status, response.fields) == (400, ["lines[1].quantity"])


GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", DO, typed('Application/JSON; Charset="UTF-8"')),
    ("POST", DO, typed("application/json;")),
    ("POST", DO, typed('application/json ; profile="a; charset=x\\"" ;; v=1')),
    ("POST", DO, typed("application/json;profile=x;charset=utf-8")),
    ("POST", DO, {"body": [b'{"lines"', b":[]}"]}),
    ("POST", DO, {"body": b" " * 4094 + b"{}"}),
    ("GET", "/v1/things/A", accepting("text/html, application/*;q=0.5")),
    ("GET", "/v1/things/A", accepting("*/*")),
    ("GET", "/v1/things/A", accepting("application/problem+json")),
    ("GET", "/v1/things/A", {"headers": [("accept", "text/html"), ("accept", "application/json")]}),
    ("GET", "/v1/things/A", {"headers": [("accept", "application/json"), ("accept", "text/html")]}),
    ("GET", "/v1/things/A", typed("text/plain")),
]


@pytest.mark.parametrize(("method", "path", "named"), GOOD)
async def test_good_input_is_taken(client: Client, method: str, path: str, named: dict[str, Any]) -> None:
    assert (await client.send(method, path, **named)).status == 200


async def test_chunked_body_is_refused_as_soon_as_it_is_too_large(client: Client) -> None:
    response = await client.send("POST", "/v1/things/A:do", body=[b" " * 4096, b" ", b"never asked for"])
    assert (response.status, response.json()["detail"]) == (413, "at most 4096 bytes are accepted")


async def test_rest_of_a_refused_body_is_taken_in_before_the_answer(client: Client) -> None:
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    request = client.open("POST", "/v1/things/A:do", body=[], headers=headers)
    for part in (b" " * 4096, b" "):
        request.arrive(part, more=True)
    while request.unread:  # noqa: ASYNC110 — a queue that is empty sets no event
        await asyncio.sleep(0)  # lets the application read
    assert request.response.status == 0
    request.arrive(b"the end")
    assert (await request.finish()).status == 413


async def test_caller_that_waits_to_be_told_to_go_on_is_refused_at_once(client: Client) -> None:
    headers = {"content-type": "application/json", "content-length": "9999", "expect": "100-continue"}
    assert (await client.send("POST", "/v1/things/A:do", body=[], headers=headers)).status == 413


async def test_refused_body_that_never_ends_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "DISCARD_SECONDS_MAX", 0.0)
    headers = {"content-type": "application/json", "content-length": "9999"}
    assert (await client.send("POST", "/v1/things/A:do", body=[], headers=headers)).status == 413


async def test_body_that_does_not_arrive_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_SECONDS_MAX", 0.0)
    request = client.open("POST", "/v1/things/A:do", body=[])
    assert ((await request.finish()).status, request.response.reason) == (408, "BODY_TOO_SLOW")


async def test_caller_that_goes_away_before_the_body_is_whole_is_only_counted(client: Client) -> None:
    request = client.open("POST", "/v1/things/A:do", body=[])
    request.disconnect()
    assert (await request.finish()).status == 0
    assert counted(client, "/v1/things/{thing_id}:do", "POST", 499) == 1


class TestIdentity:
    async def test_token_is_needed(self, client: Client) -> None:
        client.token = ""
        response = await client.get("/v1/things/A")
        assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")

    async def test_token_is_asked_for_before_the_body_is_read(self, client: Client) -> None:
        client.token = ""
        response = await client.open("POST", "/v1/things/A:do", body=[]).finish()  # a body that never comes
        assert response.status == 401

    async def test_scope_is_needed(self, tmp_path: Path) -> None:
        client = kitchen_client(tmp_path, scopes=frozenset({"kitchen.read"}))
        response = await client.post("/v1/things/A:do", {})
        assert (response.status, response.reason) == (403, "MISSING_SCOPE")
        assert response.json()["metadata"] == {"scopes": "kitchen.write"}

    async def test_public_rpc_needs_no_token_and_looks_at_none(self, client: Client) -> None:
        client.token = "stale"
        assert (await client.get("/v1/public/A")).status == 200

    async def test_handler_knows_the_call(self, tmp_path: Path) -> None:
        seen: list[tuple[Exchange, Call | None]] = []

        async def look(request: Any, exchange: Exchange) -> Any:
            seen.append((exchange, current_call.get()))
            return FindResponse(found=request)

        client = kitchen_client(tmp_path, Find=look, Look=look, deadline_seconds_default=5.0)
        before = asyncio.get_running_loop().time()
        await client.get("/v1/things/A", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        await client.get("/v1/public/A", headers={"cache-control": "max-age=0, no-cache"})
        (first, current), (second, _) = seen
        assert (first.call, first.call.principal.client_id, first.no_cache) == (current, "webshop", False)
        assert first.call.policy.name == f"{KITCHEN.full_name}/Find"
        assert first.call.traceparent.startswith(f"00-{'a' * 32}-")
        assert (first.call.peer, first.call.context) == ("tcp:127.0.0.1:4711", None)
        assert first.call.deadline is not None
        assert 5.0 <= first.call.deadline - before < 10.0
        assert (second.call.principal, second.no_cache) == (ANONYMOUS, True)
        assert current_call.get() is None


class TestMethods:
    async def test_head_is_get_without_a_body(self, client: Client) -> None:
        get, head = await client.get("/v1/things/A"), await client.send("HEAD", "/v1/things/A")
        assert (head.status, head.headers, head.body) == (200, get.headers, b"")

    async def test_head_of_a_stream_opens_none(self, client: Client) -> None:
        response = await client.send("HEAD", "/v1/things:watch")
        assert (response.status, response.headers["content-type"], response.body) == (
            200, "text/event-stream; charset=utf-8", b"",
        )  # fmt: skip

    async def test_routes_of_custom_methods_are_served(self, client: Client) -> None:
        for method in ("PURGE", "BREW", "GET", "DELETE"):
            response = await client.send(method, "/v1/loose/A?shade=SHADE_RED")
            found = response.json()["found"]
            assert (response.status, found["skuCode"], found["shade"]) == (200, "A", "SHADE_RED")
        patched = await client.send("PATCH", "/v1/loose/A", body=b'{"shade":"SHADE_RED"}')
        assert (patched.status, patched.json()["found"]["shade"]) == (200, "SHADE_RED")
        told = await client.send("OPTIONS", "/v1/loose/A")
        assert told.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PURGE, PUT"

    async def test_head_of_its_own_goes_before_get(self, client: Client) -> None:
        client.token = ""
        assert (await client.get("/v1/public/A")).status == 200
        assert (await client.send("HEAD", "/v1/public/A")).status == 401

    async def test_options_tells_the_methods_without_a_token(self, client: Client) -> None:
        client.token = ""
        response = await client.send("OPTIONS", "/v1/things/A")
        assert (response.status, response.headers, response.body) == (204, {"allow": "GET, HEAD, OPTIONS"}, b"")
        assert (await client.send("OPTIONS", "/v1/nope")).status == 404

    async def test_other_method_tells_what_is_allowed(self, client: Client) -> None:
        response = await client.get("/v1/things/A:do")
        assert (response.status, response.headers["allow"]) == (405, "OPTIONS, POST")

    async def test_rpc_without_a_route_is_not_served(self, client: Client) -> None:
        assert (await client.get(f"/{KITCHEN.full_name}/Inside")).status == 404


class TestCaching:
    async def test_private_answer_must_be_asked_about_again(self, client: Client) -> None:
        first = await client.get("/v1/things/A")
        assert (first.headers["cache-control"], first.headers["vary"]) == ("private, no-cache", "authorization")
        again = await client.get("/v1/things/A", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert "content-type" not in again.headers
        other = await client.get("/v1/things/B", headers={"if-none-match": first.headers["etag"]})
        assert other.status == 200

    async def test_lines_of_one_header_are_one_list(self, tmp_path: Path) -> None:
        fresh: list[bool] = []

        async def look(_request: Any, exchange: Exchange) -> Answer:
            fresh.append(exchange.no_cache)
            return Answer(b"{}", etag="r2")

        client = kitchen_client(tmp_path, Find=look)
        for first, second in (("no-cache", "max-age=0"), ("max-age=0", "no-cache")):
            headers = [("cache-control", first), ("cache-control", second)]
            assert (await client.get("/v1/things/A", headers=headers)).status == 200
        assert fresh == [True, True]
        for first, second in (('"r1"', '"r2"'), ('"r2"', '"r1"')):
            headers = [("if-none-match", first), ("if-none-match", second)]
            assert (await client.get("/v1/things/A", headers=headers)).status == 304

    async def test_public_answer_may_be_kept_a_second(self, client: Client) -> None:
        response = await client.get("/v1/public/A")
        assert (response.headers["cache-control"], "vary" in response.headers) == ("public, max-age=1", False)

    async def test_handler_may_bring_json_etag_and_headers(self, tmp_path: Path) -> None:
        async def cached(_request: Any, _exchange: Exchange) -> Answer:
            return Answer(b'{"found":{}}', headers=((b"age", b"3"),), etag="r17")

        client = kitchen_client(tmp_path, Find=cached)
        response = await client.get("/v1/things/A")
        assert (response.body, response.headers["etag"], response.headers["age"]) == (b'{"found":{}}', '"r17"', "3")
        for known, status in (('"r17"', 304), ("*", 304), ('W/"r17"', 304), ('"r1"', 200), ("r17", 200), ("", 200)):
            assert (await client.get("/v1/things/A", headers={"if-none-match": known})).status == status

    async def test_answer_that_may_not_be_kept_has_no_etag(self, client: Client) -> None:
        response = await client.post("/v1/things/A:do", {}, headers={"if-none-match": "*"})
        assert (response.status, "etag" in response.headers) == (200, False)


class TestFaults:
    async def test_fields_of_a_handlers_refusal_are_spelled_as_in_json(self, tmp_path: Path) -> None:
        async def refuse(_request: Any, _exchange: Exchange) -> Any:
            raise InvalidRequest("no", violations=(FieldViolation("lines[0].sku_code", "is empty"),))

        response = await kitchen_client(tmp_path, Find=refuse).get("/v1/things/A")
        assert response.fields == ["lines[0].skuCode"]

    async def test_unexpected_exception_is_ours_and_logged_once(self, tmp_path: Path) -> None:
        async def fail(_request: Any, _exchange: Exchange) -> Any:
            raise KeyError("secret")

        with structlog.testing.capture_logs() as lines:
            response = await kitchen_client(tmp_path, Find=fail).get("/v1/things/A")
        assert (response.status, response.reason, b"secret" in response.body) == (500, "INTERNAL", False)
        assert [line["http_route"] for line in lines if line["log_level"] == "error"] == ["GET /v1/things/{sku_code}"]

    async def test_handler_that_takes_too_long_is_ended(self, tmp_path: Path) -> None:
        ended = asyncio.Event()

        async def dawdle(_request: Any, _exchange: Exchange) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        response = await kitchen_client(tmp_path, Find=dawdle, deadline_seconds_default=0.01).get("/v1/things/A")
        assert (response.status, response.reason, ended.is_set()) == (504, "DEADLINE_EXCEEDED", True)

    async def test_handlers_own_timeout_is_no_deadline_of_ours(self, tmp_path: Path) -> None:
        async def fail(_request: Any, _exchange: Exchange) -> Any:
            raise TimeoutError

        assert (await kitchen_client(tmp_path, Find=fail).get("/v1/things/A")).status == 500

    async def test_work_that_is_cancelled_behind_the_handlers_back_is_unavailable(self, tmp_path: Path) -> None:
        async def interrupted(_request: Any, _exchange: Exchange) -> Any:
            work = asyncio.create_task(asyncio.Event().wait())
            work.cancel()
            await work

        response = await kitchen_client(tmp_path, Find=interrupted).get("/v1/things/A")
        assert (response.status, response.headers["retry-after"]) == (503, "1")


class TestPages:
    async def test_pages_are_served_without_a_token(self, tmp_path: Path) -> None:
        pages = {
            "/openapi.json": fixed(b"{}", "application/json"),
            "/readyz": lambda: Page(b"no\n", "text/plain", status=503),
        }
        client = kitchen_client(tmp_path, pages=pages)
        client.token = ""
        first = await client.get("/openapi.json")
        assert (first.status, first.body, first.headers["content-type"]) == (200, b"{}", "application/json")
        again = await client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert (await client.get("/readyz")).status == 503
        assert (await client.send("HEAD", "/readyz")).body == b""
        refused = await client.post("/readyz", {})
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await client.send("OPTIONS", "/readyz")).status == 204


class TestTelemetry:
    async def test_request_is_counted_by_template_method_and_status(self, client: Client) -> None:
        await client.get("/v1/things/secret")
        await client.get("/v1/things/A?nope=1")
        await client.get("/secret")
        await client.send("SECRET", "/v1/things/A")
        exposed = client.metrics.expose().decode()
        assert counted(client, "/v1/things/{sku_code}", "GET", 200) == 1
        assert counted(client, "/v1/things/{sku_code}", "GET", 400) == 1
        assert counted(client, "_OTHER", "_OTHER", 404) == 1
        assert counted(client, "_OTHER", "_OTHER", 405) == 1
        assert "secret" not in exposed.lower()
        assert (
            'http_server_active_requests{http_request_method="GET",http_route="/v1/things/{sku_code}"} 0.0' in exposed
        )

    async def test_problem_belongs_to_the_callers_trace(self, client: Client) -> None:
        response = await client.get("/v1/nope", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        assert response.json()["traceId"] == "a" * 32
        malformed = await client.get("/v1/nope", headers={"traceparent": "nonsense"})
        assert len(malformed.json()["traceId"]) == 32


def counted(client: Client, route: str, method: str, status: int) -> float | None:
    labels = {"http_route": route, "http_request_method": method, "http_response_status_code": str(status)}
    return client.metrics.registry.get_sample_value("http_server_request_duration_seconds_count", labels)


class TestStart:
    def make(self, given: Mapping[str, Any]) -> RestApp:
        return RestApp([KITCHEN], given, verifier=None, metrics=Metrics(), tracing=Tracing())

    def test_route_without_a_handler_is_a_fault(self) -> None:
        given = {name: each for name, each in handlers().items() if not name.endswith(("/Do", "/Look"))}
        with pytest.raises(ContractFault) as refused:
            self.make(given)
        assert str(refused.value) == (
            "routes cannot be served:\n"
            f"  {KITCHEN.full_name}/Look: GET /v1/public/{{sku_code}} has no handler\n"
            f"  {KITCHEN.full_name}/Do: POST /v1/things/{{thing_id}}:do has no handler"
        )

    async def test_lifespan_is_answered_and_sockets_are_declined(self) -> None:
        app = self.make(handlers())
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0)

        async def send(event: Any) -> None:
            sent.append(event["type"])

        await app({"type": "lifespan"}, receive, send)
        await app({"type": "websocket"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


async def test_concurrent_requests_keep_their_own_calls(tmp_path: Path) -> None:
    gate = asyncio.Event()
    seen: dict[str, bool] = {}

    async def wait(request: Any, exchange: Exchange) -> Any:
        if request.sku_code == "99":
            gate.set()
        await gate.wait()
        seen[request.sku_code] = current_call.get() is exchange.call
        return FindResponse(found=FindRequest(sku_code=request.sku_code))

    client = kitchen_client(tmp_path, Find=wait)
    answers = await asyncio.gather(*(client.get(f"/v1/things/{number}") for number in range(100)))
    assert [each.json()["found"]["skuCode"] for each in answers] == [str(number) for number in range(100)]
    assert (len(seen), all(seen.values())) == (100, True)
