"""What is wrong with a request is said as a problem that names it, and nothing is done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from meshkit.core.ids import new_id
from tests.e2e.client import Client, Refused
from tests.edge.http.front import (
    BERLIN,
    HOUR,
    CheckingClient,
    Front,
    assert_problem,
    counters,
    line,
    make_goods,
    nothing_done,
    standing_front,
)
from tests.embedded import Embedded

RESERVE: Final = "/v1/reservations"
GOOD_LINE: Final = {"sku": "S", "location": BERLIN, "quantity": 1}


def reserve(**changed: object) -> dict[str, Any]:
    """A reservation whose line is good but for this."""
    return {"lines": [GOOD_LINE | changed], "ttl": HOUR}


MISFITS: Final[list[tuple[str, str, object, str]]] = [
    # method, path, body, the path of what is wrong
    ("POST", RESERVE, {"lines": {}}, "lines"),
    ("POST", RESERVE, {"lines": [3]}, "lines[0]"),
    ("POST", RESERVE, {"lines": [GOOD_LINE, GOOD_LINE | {"sku": 1}]}, "lines[1].sku"),
    ("POST", RESERVE, reserve(quantity="many"), "lines[0].quantity"),
    ("POST", RESERVE, reserve(quantity=1.5), "lines[0].quantity"),
    ("POST", RESERVE, reserve(quantity=True), "lines[0].quantity"),
    ("POST", RESERVE, reserve(quantity=10**30), "lines[0].quantity"),
    ("POST", RESERVE, reserve(quantity="1e400"), "lines[0].quantity"),
    ("POST", RESERVE, reserve(quantity=0), "lines[0].quantity"),
    ("POST", RESERVE, reserve(colour="red"), "lines[0].colour"),
    ("POST", RESERVE, reserve(sku=""), "lines[0].sku"),
    ("POST", RESERVE, reserve(sku="S" * 65), "lines[0].sku"),
    ("POST", RESERVE, reserve(sku="a\0b"), "lines[0].sku"),
    ("POST", RESERVE, reserve(sku="a\nb"), "lines[0].sku"),
    ("POST", RESERVE, reserve() | {"ttl": 900}, "ttl"),
    ("POST", RESERVE, reserve() | {"ttl": "0.5s"}, "ttl"),
    ("POST", RESERVE, {"lines": [GOOD_LINE], "expireTime": "tomorrow"}, "expireTime"),
    ("POST", RESERVE, {"lines": [GOOD_LINE], "expireTime": "2027-02-30T00:00:00Z"}, "expireTime"),
    ("POST", RESERVE, reserve() | {"requestId": 7}, "requestId"),
    ("POST", RESERVE, reserve() | {"requestId": "a\0b"}, "requestId"),
    ("POST", RESERVE, reserve() | {"context": {"reference": ["x"]}}, "context.reference"),
    ("POST", RESERVE, reserve() | {"context": {"saga": {"sagaId": "a checkout's", "fence": "9"}}}, "context.saga"),
    ("POST", RESERVE, reserve() | {"requestId": "saga:a checkout's:reserve"}, "requestId"),
    ("POST", "/v1/stock:adjust", {"lines": [GOOD_LINE], "reason": "NOPE"}, "reason"),
    ("POST", "/v1/stock:adjust", {"lines": [GOOD_LINE], "reason": 99}, "reason"),
    ("POST", "/v1/skus:batchUpsert", {"skus": [{"sku": "x", "name": "x", "attributes": {"shade": 3}}]},
     'skus[0].attributes["shade"]'),
    ("POST", "/v1/skus:batchUpsert", {"skus": [{"sku": "x", "name": "x", "attributes": {"a": "\0"}}]},
     'skus[0].attributes["a"]'),
    ("POST", "/v1/prices:batchUpsert", {"prices": [{"sku": "x", "currency": "usd", "priceMinor": "1"}]},
     "prices[0].currency"),
    ("POST", "/v1/campaigns", {"name": "x", "startTime": 5}, "startTime"),
    ("PUT", "/v1/profiles/p", {"tags": "vip"}, "tags"),
    ("PUT", "/v1/profiles/p", {"tags": ["vip", 1]}, "tags[1]"),
    ("PUT", "/v1/profiles/p", {"tags": [], "profileId": "q"}, "profileId"),
    ("POST", "/v1/checkouts", {"lines": [GOOD_LINE | {"unitPrice": 5}]}, "lines[0].unitPrice"),
    ("POST", "/v1/checkouts", {"lines": [GOOD_LINE | {"unitPrice": {"minor": "x", "currency": "USD"}}]},
     "lines[0].unitPrice.minor"),
    ("POST", "/v1/checkouts", {"lines": []}, "lines"),
]  # fmt: skip


async def test_what_does_not_fit_is_named_by_its_path(api: CheckingClient) -> None:
    await make_goods(api, sku="S")
    async with nothing_done(api):
        for method, path, body, field in MISFITS:
            assert_problem(await api.ask(method, path, body), 400, "INVALID_REQUEST", field)


def nested(levels: int, opening: str, closing: str) -> bytes:
    """JSON of so many levels."""
    return (opening * levels + "1" + closing * levels).encode()


NOT_JSON: Final = {
    "a list": (b"[]", []),
    "a text": (b'"x"', []),
    "null": (b"null", []),
    "cut off": (b'{"lines":', []),
    "two values": (b"{} {}", []),
    "a byte order mark": (b"\xef\xbb\xbf{}", []),
    "not UTF-8": (b'{"requestId":"\xff"}', []),
    "NUL itself": (b'{"requestId":"a\0b"}', []),
    "half a surrogate pair": (b'{"requestId":"\\ud800"}', ["requestId"]),
    "a key twice": (b'{"lines":[],"lines":[]}', ["lines"]),
    "NaN": (b'{"ttl":NaN}', []),
    "a number of 5,000 digits": (b'{"ttl":1' + b"0" * 5_000 + b"}", []),
    "100 lists": (nested(100, "[", "]"), []),
    "100 lists in a field": (b'{"lines":' + nested(100, "[", "]") + b"}", ["lines[0]"]),
    "100 objects": (nested(100, '{"context":', "}"), ["context.context"]),
    "100,000 lists": (nested(100_000, "[", "]"), []),
    "40,000 objects": (nested(40_000, '{"a":', "}"), []),
    "nothing": (b"", ["lines"]),
}


@pytest.mark.parametrize("what", NOT_JSON)
async def test_a_body_that_is_no_request_is_refused(api: CheckingClient, what: str) -> None:
    body, fields = NOT_JSON[what]
    async with nothing_done(api):
        assert_problem(await api.ask("POST", RESERVE, body), 400, "INVALID_REQUEST", *fields)


async def test_a_body_may_be_as_long_as_the_limit_and_no_longer(api: CheckingClient) -> None:
    sku = await make_goods(api)
    limit_bytes = 262_144
    body = json.dumps({"lines": [line(sku)], "ttl": HOUR}).encode()
    (await api.ask("POST", RESERVE, body.ljust(limit_bytes))).ok()
    async with nothing_done(api):
        too_long = body.ljust(limit_bytes + 1)
        problem = assert_problem(await api.ask("POST", RESERVE, too_long), 413, "BODY_TOO_LARGE")
        assert str(limit_bytes) in problem["detail"]
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(too_long), too_long)
        assert_problem(await api.send(head_of(api, "transfer-encoding: chunked") + chunked), 413, "BODY_TOO_LARGE")


def head_of(api: CheckingClient, *headers: str) -> bytes:
    """The head of a reservation's request, with these headers."""
    lines = [f"POST {RESERVE} HTTP/1.1", "host: x", f"authorization: Bearer {api.token}"]
    return "\r\n".join([*lines, "content-type: application/json", *headers, "", ""]).encode()


MEDIA_TYPES: Final = {
    # content type, content encoding: status
    ("application/json", ""): 200,
    ('Application/JSON; charset="UTF-8"', ""): 200,
    ("application/json", "identity"): 200,
    ("text/plain", ""): 415,
    ("application/x-www-form-urlencoded", ""): 415,
    ("application/json-seq", ""): 415,
    ("application/json; charset=latin-1", ""): 415,
    ("", ""): 415,
    ("application/json", "gzip"): 415,
}


@pytest.mark.parametrize(("media_type", "encoding"), MEDIA_TYPES)
async def test_a_body_is_taken_as_json_only_if_it_says_so(api: CheckingClient, media_type: str, encoding: str) -> None:
    body = {"skus": ["S"]}
    headers = {"content-type": media_type} | ({"content-encoding": encoding} if encoding else {})
    reply = await api.ask("POST", "/v1/availability:batchGet", body, headers=headers)
    if MEDIA_TYPES[media_type, encoding] == 200:
        reply.ok()
    else:
        assert_problem(reply, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_caller_who_takes_no_json_is_told_so(api: CheckingClient) -> None:
    assert_problem(await api.get("/v1/skus", accept="text/html"), 406, "NOT_ACCEPTABLE")
    assert_problem(await api.get("/v1/stock:watch", accept="application/json"), 406, "NOT_ACCEPTABLE")
    (await api.get("/v1/skus", accept="text/html, application/*;q=0.1")).ok()


@pytest.mark.parametrize(
    "path",
    ["/", "/nope", "/v1/nope", "/v1/skus/", "//v1/skus", "/v1//skus", "/V1/skus", "/v1/skus/a/b/availability", "*",
     "/v1/skus:nope", "/healthz/", "/openapi.yaml"],
)  # fmt: skip
async def test_an_unknown_path_is_not_found(api: CheckingClient, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "BREW"):
        assert_problem(await api.ask(method, path), 404, "ROUTE_NOT_FOUND")


ALLOWED: Final = {
    "/v1/skus": "GET, HEAD, OPTIONS",
    "/v1/skus:batchUpsert": "OPTIONS, POST",
    "/v1/reservations": "GET, HEAD, OPTIONS, POST",
    "/v1/reservations/x": "GET, HEAD, OPTIONS",
    "/v1/reservations/x:commit": "OPTIONS, POST",
    "/v1/reservations/x%3Acommit": "GET, HEAD, OPTIONS",  # a colon in a name is no verb
    "/v1/profiles/p": "GET, HEAD, OPTIONS, PUT",
    "/v1/stock:watch": "GET, HEAD, OPTIONS",
    "/healthz": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
async def test_another_method_is_told_which_are_allowed(api: CheckingClient, path: str) -> None:
    methods = set(ALLOWED[path].split(", "))
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"} - methods:
        reply = await api.ask(method, path, {"requestId": "x"})
        assert_problem(reply, 405, "METHOD_NOT_ALLOWED")
        assert reply.headers["allow"] == ALLOWED[path]
    reply = await api.ask("OPTIONS", path)
    assert (reply.status, reply.headers["allow"], reply.body) == (204, ALLOWED[path], b"")


@pytest.mark.parametrize(
    "name", ["a/b", "../../stock/levels", "..", "100%", "a+b c", "a:commit", "Ç✓", "%2F", "a?b#c&d=e"]
)
async def test_whatever_a_name_is_made_of_it_is_one_segment(api: CheckingClient, name: str) -> None:
    sku = await make_goods(api, 3, sku=name)
    found = (await api.get(f"/v1/skus/{quote(sku, safe='')}/availability")).ok()["availability"]
    assert (found["sku"], found["sellable"]) == (name, "3")


async def test_a_path_is_decoded_once_and_nothing_in_it_is_resolved(api: CheckingClient) -> None:
    await make_goods(api, 1, sku="x/y")
    for path, sku in (
        ("/v1/skus/x%2Fy%2F..%2fz/availability", "x/y/../z"),
        ("/v1/skus/./availability", "."),
        ("/v1/skus/%2e%2E%2f/availability", "../"),
        ("/v1/skus/x%252Fy/availability", "x%2Fy"),
        ("/v1/skus/x+y/availability", "x+y"),
    ):
        problem = assert_problem(await api.get(path), 404, "UNKNOWN_SKU")
        assert problem["metadata"] == {"sku": sku}
    assert (await api.get("/v1/%73kus/x%2fy/%61vailability")).ok()["availability"]["sku"] == "x/y"


@pytest.mark.parametrize(
    "name", ["%00", "a%00b", "%", "a%2", "%zz", "%C0%AF", "%E0%80%AF", "%ED%A0%80", "%FF", "%F4%90%80%80"]
)
async def test_percent_encoding_that_is_none_is_refused(api: CheckingClient, name: str) -> None:
    for target in (f"/v1/skus/{name}/availability", f"/v1/skus?brand={name}", f"/v1/skus?{name}=1"):
        assert_problem(await api.get(target), 400, "INVALID_REQUEST")
    async with nothing_done(api):
        assert_problem(await api.ask("PUT", f"/v1/profiles/{name}", {"tags": []}), 400, "INVALID_REQUEST")


QUERIES: Final = {
    "pageSize=1&pageSize=2": "pageSize",
    "pageSize=1&pageSize=1": "pageSize",
    "pageSize=1&page_size=1": "pageSize",
    "brand=a&pageSize=1&brand=b": "brand",
    "nope=1": "nope",
    "pageSize=x": "pageSize",
    "pageSize=1.5": "pageSize",
    "pageSize=1001": "pageSize",
    "pageSize=-1": "pageSize",
    "pageSize=": "pageSize",
    "minRevision=-1": "minRevision",
    "minRevision=99999999999999999999": "minRevision",
    "skus=": "skus[0]",
    f"brand={'b' * 129}": "brand",
}


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_parameter_that_is_wrong_or_given_twice_is_named(api: CheckingClient, query: str) -> None:
    assert_problem(await api.get(f"/v1/skus?{query}"), 400, "INVALID_REQUEST", QUERIES[query])


async def test_a_list_may_be_given_piece_by_piece_and_a_path_not_once_more(api: CheckingClient) -> None:
    one, two = await make_goods(api), await make_goods(api)
    found = (await api.get(f"/v1/skus?skus={one}&skus={two}")).ok()["skus"]
    assert [each["sku"] for each in found] == sorted([one, two])
    reply = await api.get(f"/v1/skus/{one}/availability?sku={two}")
    assert_problem(reply, 400, "INVALID_REQUEST", "sku")


LISTS: Final = [
    "/v1/skus", "/v1/locations", "/v1/prices", "/v1/stock/levels", "/v1/stock/events", "/v1/reservations",
    "/v1/campaigns", "/v1/campaigns/c/promotions", "/v1/campaigns/c/coupons", "/v1/redemptions", "/v1/promo/events",
    "/v1/profiles", "/v1/profiles/p/purchases", "/v1/checkouts",
]  # fmt: skip


async def begin_list(front: Front) -> str:
    """A campaign `c`, a profile `p`, and the page token of `/v1/skus?brand=b&pageSize=1`."""
    async with front.client() as api:
        skus = [{"sku": f"paged-{number}", "name": "x", "brand": "b"} for number in range(3)]
        (await api.post("/v1/skus:batchUpsert", {"skus": skus})).ok()
        (await api.post("/v1/campaigns", {"campaignId": "c", "name": "x"})).ok()
        (await api.ask("PUT", "/v1/profiles/p", {"tags": []})).ok()
        return str((await api.get("/v1/skus?brand=b&pageSize=1")).ok()["nextPageToken"])


@pytest.fixture(scope="module")
def token_of_skus(front: Front) -> str:
    """See `begin_list`."""
    return asyncio.run(begin_list(front))


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_token_of_no_page_of_the_list_is_refused(
    api: CheckingClient, token_of_skus: str, path: str
) -> None:
    for token in ("x", "AAAA", "%F0%9F%92%84", "'--", token_of_skus[:-1], token_of_skus):
        assert_problem(await api.get(f"{path}?pageToken={token}"), 400, "INVALID_PAGE_TOKEN", "pageToken")
    assert_problem(await api.get(f"{path}?pageToken={'x' * 1025}"), 400, "INVALID_REQUEST", "pageToken")


async def test_a_page_token_goes_on_with_its_own_filter_only(api: CheckingClient, token_of_skus: str) -> None:
    (row,) = (await api.get(f"/v1/skus?brand=b&pageSize=1&pageToken={token_of_skus}")).ok()["skus"]
    assert row["sku"] == "paged-1"
    reply = await api.get(f"/v1/skus?brand=c&pageSize=1&pageToken={token_of_skus}")
    assert_problem(reply, 400, "INVALID_PAGE_TOKEN", "pageToken")


async def last_id(client: Client, target: str) -> str:
    """The id of the first event of a stream."""
    events = client.events(target)
    try:
        return (await anext(events)).id
    finally:
        await events.aclose()


async def refusal(client: Client, target: str, last_event_id: str) -> Any:  # noqa: ANN401 — a reply
    """What a stream is refused with."""
    with pytest.raises(Refused) as refused:
        await anext(client.events(target, last_event_id=last_event_id))
    return refused.value.reply


async def test_an_event_id_of_another_deployment_is_gone(front: Front, embedded: Embedded, tmp_path: Path) -> None:
    with standing_front(embedded, tmp_path) as other:
        async with other.client() as stranger:
            foreign = await last_id(stranger, "/v1/stock:watch")
    async with front.client() as client:
        assert_problem(await refusal(client, "/v1/stock:watch", foreign), 410, "RESUME_TOKEN_FOREIGN")


async def test_an_event_id_that_is_none_of_the_stream_is_refused(front: Front, api: CheckingClient) -> None:
    await make_goods(api)
    watch = "/v1/stock:watch"
    async with front.client() as client:
        own = await last_id(client, watch)
        for bad in ("x", own[:-1], "~~~"):
            assert_problem(await refusal(client, watch, bad), 400, "RESUME_TOKEN_INVALID", "resumeToken")
        assert_problem(await refusal(client, f"{watch}?filter.skus=S", own), 400, "RESUME_TOKEN_INVALID", "resumeToken")
        both = f"{watch}?resumeToken={own}"
        assert_problem(await refusal(client, both, "x"), 400, "RESUME_TOKEN_INVALID", "resumeToken")
        assert_problem(await refusal(client, watch, "x" * 1025), 400, "INVALID_REQUEST", "Last-Event-ID")


async def test_of_two_different_request_ids_none_is_taken(api: CheckingClient) -> None:
    sku = await make_goods(api)
    body: dict[str, Any] = {"requestId": "one", "lines": [line(sku)], "ttl": HOUR}
    async with nothing_done(api):
        for path in (RESERVE, "/v1/checkouts"):
            reply = await api.post(path, body, idempotency_key="two")
            assert_problem(reply, 400, "INVALID_REQUEST", "requestId")
        for key in ("x" * 129, "a\tb", ""):
            reply = await api.post(RESERVE, {"lines": [line(sku)]}, idempotency_key=key)
            assert_problem(reply, 400, "INVALID_REQUEST", "Idempotency-Key")
        twice = head_of(api, "idempotency-key: a", "idempotency-key: b", "content-length: 2") + b"{}"
        assert_problem(await api.send(twice), 400, "INVALID_REQUEST", "Idempotency-Key")
    body["requestId"] = new_id()
    (await api.post(RESERVE, body, idempotency_key=body["requestId"])).ok()


@pytest.mark.parametrize("path", ["/v1/stock:receive", RESERVE, "/v1/checkouts"])
async def test_where_no_request_id_is_given_the_edge_makes_one_and_returns_it(api: CheckingClient, path: str) -> None:
    sku = await make_goods(api)
    body = {"lines": [line(sku, 2)]}
    first = await api.post(path, body)
    made = first.headers["idempotency-key"]
    async with nothing_done(api):
        for repeat in (
            await api.post(path, body, idempotency_key=made),
            await api.post(path, body, idempotency_key=f'"{made}"'),
            await api.post(path, {"requestId": made, **body}),
        ):
            assert (repeat.ok(), repeat.headers["idempotency-key"]) == (first.ok(), made)
    again = await api.post(path, body)
    assert again.ok() != first.ok()
    assert again.headers["idempotency-key"] != made


@pytest.mark.parametrize("path", ["/v1/stock:receive", RESERVE, "/v1/checkouts"])
async def test_a_request_id_with_another_request_is_refused(api: CheckingClient, path: str) -> None:
    sku = await make_goods(api)
    key = new_id()
    (await api.post(path, {"lines": [line(sku, 2)]}, idempotency_key=key)).ok()
    before = await counters(api, sku)
    async with nothing_done(api):
        reply = await api.post(path, {"lines": [line(sku, 3)]}, idempotency_key=key)
        problem = assert_problem(reply, 422, "REQUEST_ID_REUSED")
        assert (problem["metadata"]["field"], reply.headers["idempotency-key"]) == ("lines", key)
    assert await counters(api, sku) == before
