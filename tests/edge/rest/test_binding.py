# ruff: noqa: ANN401 — messages of a service that is compiled at run time have no type
from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from edge_gateway.rest.binding import Binding, read_routes
from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.query import PARAMETERS_MAX
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.options import ContractFault
from tests.edge.rest.kitchen import KITCHEN, DoRequest, FindRequest, FindResponse, Inner, add_to_pool, compile_proto

BINDINGS = {(route.method.name, route.number): Binding(route, Codecs()) for route in read_routes([KITCHEN])}


def bound(rpc: str, values: tuple[str, ...], query: str = "", body: object = None, number: int = 0) -> Any:
    raw = b"" if body is None else json.dumps(body).encode()
    return BINDINGS[rpc, number].request(values, query.encode(), raw)


def refusal(
    rpc: str, values: tuple[str, ...], query: str = "", body: object = None, number: int = 0
) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        bound(rpc, values, query, body, number)
    found = refused.value.violations
    return (found[0].field, found[0].description) if found else ("", refused.value.message)


def test_every_annotation_is_a_route_in_the_order_of_the_file() -> None:
    routes = [(route.method.name, route.http_method, route.template.text) for route in read_routes([KITCHEN])]
    assert routes == [
        ("Find", "GET", "/v1/things/{sku_code}"),
        ("Find", "GET", "/v1/filters/{filter.inner.sku_code=shelf/*}/things"),
        ("Find", "GET", "/v1/files/{sku_code=**}"),
        ("Look", "GET", "/v1/public/{sku_code}"),
        ("Do", "POST", "/v1/things/{thing_id}:do"),
        ("Refine", "PUT", "/v1/things/{thing_id}/filter"),
        ("Watch", "GET", "/v1/things:watch"),
        ("Verify", "POST", "/v1/things:verify"),
        ("Touch", "*", "/v1/loose/{sku_code}"),
        ("Touch", "PURGE", "/v1/loose/{sku_code}"),
        ("Touch", "PATCH", "/v1/loose/{sku_code}"),
        ("Touch", "POST", "/v1/at/{min_revision}/{filter.inner.quantity}/{max_age}"),
        ("Touch", "HEAD", "/v1/public/{sku_code}"),
    ]


QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("&&", {}),
    ("shade=SHADE_RED", {"shade": 1}),
    ("shade=2", {"shade": 2}),
    ("minRevision=7", {"min_revision": 7}),
    ("min_revision=7", {"min_revision": 7}),
    ("filter.skus=a&filter.skus=b", {"filter": {"skus": ["a", "b"]}}),
    ("filter.omit_levels=true", {"filter": {"omit_levels": True}}),
    ("filter.inner.skuCode=%C3%A9+%2B", {"filter": {"inner": {"sku_code": "é +"}}}),
    ("shades=SHADE_RED&shades=2", {"shades": [1, 2]}),
    ("fromTime=2026-03-01T12:00:00Z", {"from_time": Timestamp(seconds=1772366400)}),
    ("maxAge=1.5s", {"max_age": {"seconds": 1, "nanos": 500_000_000}}),
    ("wrapped=false", {"wrapped": {}}),
    ("%73hade=SHADE_RED", {"shade": 1}),
    ("storeCode=", {"store_code": ""}),
]


@pytest.mark.parametrize(("query", "fields"), QUERIES)
def test_query_sets_fields(query: str, fields: dict[str, Any]) -> None:
    assert bound("Find", ("A",), query) == FindRequest(sku_code="A", **fields)


REFUSED_QUERIES = [
    ("nope=1", "nope", "is not a query parameter of this route"),
    ("=1", "", "is not a query parameter of this route"),
    ("filter=x", "filter", "is not a query parameter of this route"),
    ("filter.nope=x", "filter.nope", "is not a query parameter of this route"),
    ("shade.x=1", "shade.x", "is not a query parameter of this route"),
    ("labels=x", "labels", "is not a query parameter of this route"),
    ("labels.a=x", "labels.a", "is not a query parameter of this route"),
    ("fromTime.seconds=1", "fromTime.seconds", "is not a query parameter of this route"),
    ("filter." * 9 + "x=1", ("filter." * 9 + "x")[:64], "is not a query parameter of this route"),
    ("skuCode=B", "skuCode", "is not a query parameter: the path or the body sets it"),
    ("sku_code=A", "skuCode", "is not a query parameter: the path or the body sets it"),
    ("shade=SHADE_RED&shade=SHADE_RED", "shade", "is given twice"),
    ("minRevision=1&min_revision=1", "minRevision", "is given twice"),
    ("shade=PINK", "shade", "must be one of SHADE_UNSPECIFIED, SHADE_RED, SHADE_NUDE"),
    ("shade=", "shade", "must be one of SHADE_UNSPECIFIED, SHADE_RED, SHADE_NUDE"),
    ("shade=" + "1" * 5000, "shade", "must be one of SHADE_UNSPECIFIED, SHADE_RED, SHADE_NUDE"),
    ("shade=" + "1" * 64, "shade", "must lie within -2147483648 and 2147483647"),
    ("minRevision=x", "minRevision", "must be an integer, as a number or a string"),
    ("minRevision", "minRevision", "must be an integer, as a number or a string"),
    ("filter.omitLevels=1", "filter.omitLevels", "must be true or false"),
    ("maxAge=1", "maxAge", "must be a duration in seconds, such as 1.5s"),
    ("storeCode=a&cityName=b", "cityName", "excludes storeCode, which is given as well"),
    ("filter.skus=a&" * 4, "filter.skus", "must contain no more than 3 item(s)"),
    ("times=1s&times=1s&times=x", "times", "must contain no more than 2 item(s)"),
    ("filter.skus=%zz", "", "the query holds a malformed percent-encoding"),
    ("filter.skus=%ff", "", "the query is not percent-encoded UTF-8"),
    ("filter.skus=%00", "", "the query holds NUL"),
    ("filter.skus=a&" * (PARAMETERS_MAX + 1), "", f"the query has more than {PARAMETERS_MAX} parameters"),
]


@pytest.mark.parametrize(("query", "field", "said"), REFUSED_QUERIES, ids=[row[0][:40] for row in REFUSED_QUERIES])
def test_query_that_does_not_fit_is_refused_by_name(query: str, field: str, said: str) -> None:
    assert refusal("Find", ("A",), query) == (field, said)


def test_path_sets_nested_fields_over_several_segments() -> None:
    request = bound("Find", ("shelf/A",), "filter.omitLevels=true", number=1)
    assert request == FindRequest(filter={"inner": {"sku_code": "shelf/A"}, "omit_levels": True})
    assert refusal("Find", ("shelf/A",), "filter.inner.skuCode=B", number=1)[0] == "filter.inner.skuCode"
    assert bound("Find", ("shelf/A",), "skuCode=B", number=1).sku_code == "B"


def test_body_is_the_whole_message() -> None:
    request = bound("Do", ("t1",), body={"requestId": "r1", "lines": [{"skuCode": "A"}]})
    assert request == DoRequest(request_id="r1", thing_id="t1", lines=[Inner(sku_code="A")])


def test_empty_body_is_an_empty_message() -> None:
    assert bound("Do", ("t1",)) == DoRequest(thing_id="t1")


def test_body_may_repeat_what_the_path_says_and_nothing_else() -> None:
    assert bound("Do", ("t1",), body={"thingId": "t1"}) == DoRequest(thing_id="t1")
    assert refusal("Do", ("t1",), body={"thing_id": "t2"}) == ("thingId", "differs from the path")


SAME: list[tuple[tuple[str, str, str], dict[str, Any]]] = [
    (("5", "6", "7s"), {}),
    (("5", "6", "7s"), {"minRevision": "5", "filter": {"inner": {"quantity": 6}}, "maxAge": "7.000s"}),
    (("5", "6", "7s"), {"minRevision": None, "filter": {"inner": {}, "skus": []}, "maxAge": None}),
    (("0", "6", "7s"), {"minRevision": 0}),
]


@pytest.mark.parametrize(("values", "body"), SAME)
def test_body_that_says_the_same_is_taken(values: tuple[str, str, str], body: dict[str, Any]) -> None:
    first, second, third = (int(each.rstrip("s")) for each in values)
    filtered = {"inner": {"quantity": second}}
    assert bound("Touch", values, body=body, number=3) == FindRequest(
        min_revision=first, filter=filtered, max_age={"seconds": third}
    )


DIFFERENT: list[tuple[tuple[str, str, str], dict[str, Any], str]] = [
    (("5", "6", "7s"), {"minRevision": 4}, "minRevision"),
    (("5", "6", "7s"), {"minRevision": 0}, "minRevision"),
    (("0", "6", "7s"), {"min_revision": 5}, "minRevision"),
    (("5", "6", "7s"), {"filter": {"inner": {"quantity": "0"}}}, "filter.inner.quantity"),
    (("5", "6", "7s"), {"maxAge": "0s"}, "maxAge"),
]


@pytest.mark.parametrize(("values", "body", "field"), DIFFERENT)
def test_body_that_says_another_value_is_refused_be_it_zero(
    values: tuple[str, str, str], body: dict[str, Any], field: str
) -> None:
    assert refusal("Touch", values, body=body, number=3) == (field, "differs from the path")


def test_whole_body_leaves_nothing_to_the_query() -> None:
    assert refusal("Do", ("t1",), "requestId=r1") == ("requestId", "is not a query parameter of this route")


def test_body_is_one_field_and_the_query_the_rest() -> None:
    request = bound("Refine", ("t1",), "requestId=r1", {"skus": ["a"]})
    assert request == DoRequest(request_id="r1", thing_id="t1", filter={"skus": ["a"]})
    assert refusal("Refine", ("t1",), "filter.skus=b", {})[0] == "filter.skus"
    assert refusal("Refine", ("t1",), body={"inner": {"quantity": "x"}})[0] == "filter.inner.quantity"


def test_body_that_is_a_field_cannot_be_missing() -> None:
    assert refusal("Refine", ("t1",)) == ("", "the body is not JSON: Expecting value at character 1")


def test_response_body_is_one_field_of_the_answer() -> None:
    answer = json.loads(BINDINGS["Look", 0].encode(FindResponse(found=FindRequest(sku_code="A"))))
    assert answer["skuCode"] == "A"


FAULTS = [
    ('{get: "/v1/{nope}"}', "nope is no single field that a path can hold"),
    ('{get: "/v1/{words}"}', "words is no single field that a path can hold"),
    ('{get: "/v1/{inner}"}', "inner is no single field that a path can hold"),
    ('{get: "/v1/{word.x}"}', "word.x is no single field that a path can hold"),
    ('{get: "/v1/{inner.twoWords}"}', "inner.twoWords is no single field that a path can hold"),
    ('{get: "/v1/{word"}', "expected '}' at character 10"),
    ('{get: "/v1/x" body: "*"}', "GET has no body"),
    ('{delete: "/v1/x" body: "inner"}', "DELETE has no body"),
    ('{custom {kind: "HEAD" path: "/v1/x"} body: "*"}', "HEAD has no body"),
    ('{custom {kind: "OPTIONS" path: "/v1/x"}}', "no route can have the method 'OPTIONS'"),
    ('{custom {path: "/v1/x"}}', "no route can have the method ''"),
    ('{get: "/v1/x%20y"}', "expected the end, '/' or ':' at character 6"),
    ('{post: "/v1/x" body: "nope"}', "body 'nope' is no field of"),
    ('{post: "/v1/x" response_body: "nope"}', "response_body 'nope' is no field of"),
    ('{post: "/v1/x" response_body: "*"}', "response_body '*' is no field of"),
    ('{body: "*"}', "the http annotation has no path"),
    ('{get: "/v1/x" additional_bindings {get: "/v1/y" additional_bindings {get: "/v1/z"}}}', "has additional bindings"),
]


@pytest.mark.parametrize(
    ("number", "rule", "said"), [(n, *row) for n, row in enumerate(FAULTS)], ids=[r[0] for r in FAULTS]
)
def test_annotation_that_cannot_be_bound_is_a_fault_at_the_start(number: int, rule: str, said: str) -> None:
    with pytest.raises(ContractFault) as refused:
        bind_all(service_with(number, rule))
    assert said in str(refused.value)
    assert f"meshtest.fault{number}.v1.FaultService/Call" in str(refused.value)


@pytest.mark.parametrize(("number", "field"), [(100, "google.protobuf.Any"), (101, "google.protobuf.NullValue")])
def test_type_that_json_does_not_spell_here_is_a_fault_at_the_start(number: int, field: str) -> None:
    with pytest.raises(ContractFault) as refused:
        bind_all(service_with(number, '{get: "/v1/x"}', f"{field} odd = 1;"))
    assert str(refused.value) == f"meshtest.fault{number}.v1.Inner.odd: a {field} is not spelled in JSON here"


def bind_all(service: Any) -> None:
    for route in read_routes([service]):
        Binding(route, Codecs())


def service_with(number: int, rule: str, inner: str = "string two_words = 1;") -> Any:
    package = f"meshtest.fault{number}.v1"
    file = compile_proto(
        f"""
        syntax = "proto3";
        package {package};
        import "beautymesh/options/v1/options.proto";
        import "google/api/annotations.proto";
        import "google/protobuf/any.proto";
        import "google/protobuf/struct.proto";
        message Inner {{ {inner} }}
        message CallRequest {{ string word = 1; repeated string words = 2; Inner inner = 3; }}
        message CallResponse {{}}
        service FaultService {{
          rpc Call(CallRequest) returns (CallResponse) {{
            option (beautymesh.options.v1.rpc) = {{public: true, idempotency: IDEMPOTENCY_READ_ONLY}};
            option (google.api.http) = {rule};
          }}
        }}
        """,
        f"fault{number}.proto",
    )
    return add_to_pool(file).FindServiceByName(f"{package}.FaultService")
