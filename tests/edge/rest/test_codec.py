# ruff: noqa: ANN401 — messages and JSON are of any type
from __future__ import annotations

import json
import time
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gateway.rest.codec import Codecs
from edge_gateway.rest.wellknown import DEPTH_MAX
from meshkit.core.errors import InvalidRequest
from tests.edge.rest.kitchen import All, Few, Inner
from tests.edge.rest.messages import MESSAGES, messages_of

CODECS = Codecs()


def read(text: str | bytes, message_class: Any = All) -> Any:
    message = message_class()
    CODECS.of(message_class.DESCRIPTOR).decode(text if isinstance(text, bytes) else text.encode(), message)
    return message


def written(message: Any) -> Any:
    return json.loads(CODECS.of(message.DESCRIPTOR).encode(message))


READ: list[tuple[str, dict[str, Any]]] = [
    ("{}", {}),
    ('{"anInt64":"5"}', {"an_int64": 5}),
    ('{"an_int64":5}', {"an_int64": 5}),
    ('{"anInt64":9007199254740993}', {"an_int64": 9007199254740993}),
    ('{"anInt64":9007199254740993.0}', {"an_int64": 9007199254740993}),
    ('{"anInt64":"-9223372036854775808"}', {"an_int64": -(2**63)}),
    ('{"aUint64":"18446744073709551615"}', {"a_uint64": 2**64 - 1}),
    ('{"anInt32":1e2}', {"an_int32": 100}),
    ('{"anInt32":"1e2"}', {"an_int32": 100}),
    ('{"anInt32":1.0}', {"an_int32": 1}),
    ('{"anInt32":"1.0"}', {"an_int32": 1}),
    ('{"anInt32":-0}', {"an_int32": 0}),
    ('{"aDouble":"NaN"}', {"a_double": float("nan")}),
    ('{"aDouble":"-Infinity","aFloat":"1.5"}', {"a_double": float("-inf"), "a_float": 1.5}),
    ('{"aDouble":1}', {"a_double": 1.0}),
    ('{"aBool":true}', {"a_bool": True}),
    ('{"shade":"SHADE_RED"}', {"shade": 1}),
    ('{"shade":2}', {"shade": 2}),
    ('{"shade":7}', {"shade": 7}),
    ('{"someBytes":"+/8="}', {"some_bytes": b"\xfb\xff"}),
    ('{"someBytes":"-_8"}', {"some_bytes": b"\xfb\xff"}),
    ('{"aString":"\\u00e9 \\ud83d\\ude00"}', {"a_string": "é 😀"}),
    ('{"inner":{"skuCode":"A"}}', {"inner": Inner(sku_code="A")}),
    ('{"inner":{}}', {"inner": Inner()}),
    ('{"inner":null,"numbers":null,"aString":null,"text":null,"labels":null}', {}),
    ('{"numbers":["1",2]}', {"numbers": [1, 2]}),
    ('{"labels":{"":"x"},"byFlag":{"true":"1"}}', {"labels": {"": "x"}, "by_flag": {True: 1}}),
    ('{"byNumber":{"-5":{}}}', {"by_number": {-5: Inner()}}),
    ('{"maybeNumber":"0"}', {"maybe_number": 0}),
    ('{"text":""}', {"text": ""}),
    ('{"aTime":"2026-03-01T13:00:00.5+01:00"}', {"a_time": Timestamp(seconds=1772366400, nanos=500_000_000)}),
    ('{"aTime":"1969-12-31t23:59:59.999999999z"}', {"a_time": Timestamp(seconds=-1, nanos=999_999_999)}),
    ('{"aDuration":"-1.5s"}', {"a_duration": Duration(seconds=-1, nanos=-500_000_000)}),
    ('{"aMask":"a.bC,d"}', {"a_mask": {"paths": ["a.b_c", "d"]}}),
    ('{"aMask":""}', {"a_mask": {}}),
    ('{"wrappedInt64":"0","wrappedBool":null}', {"wrapped_int64": {}}),
    ('{"aValue":null}', {"a_value": Value(null_value=0)}),  # type: ignore[arg-type]  # a number of the wire's
    ('{"values":[null,1]}', {"values": [Value(null_value=0), Value(number_value=1)]}),  # type: ignore[arg-type]  # see above
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields"), READ, ids=[row[0] for row in READ])
def test_json_is_read(text: str, fields: dict[str, Any]) -> None:
    assert read(text).SerializeToString(deterministic=True) == All(**fields).SerializeToString(deterministic=True)


DEEP = '{"child":' * DEPTH_MAX
REFUSED = [
    # JSON, path, what is said
    ('{"nope":1}', "nope", "is not known"),
    ('{"inner":{"nope":1}}', "inner.nope", "is not known"),
    ('{"lines":[{},{},{},{"quantity":"x"}]}', "lines[3].quantity", "must be an integer, as a number or a string"),
    ('{"lines":[{"sku_code":1}]}', "lines[0].skuCode", "must be a string"),
    ('{"byNumber":{"7":{"quantity":[]}}}', 'byNumber["7"].quantity', "must be an integer, as a number or a string"),
    ('{"byNumber":{"x":{}}}', 'byNumber["x"]', "must be an integer, as a number or a string"),
    ('{"byNumber":{"1":{},"1.0":{}}}', 'byNumber["1.0"]', "is given twice"),
    ('{"byFlag":{"yes":"1"}}', 'byFlag["yes"]', "must be true or false"),
    ('{"labels":{"a":null}}', 'labels["a"]', "must be a string"),
    ('{"numbers":[1,null]}', "numbers[1]", "must be an integer, as a number or a string"),
    ('{"lines":[null]}', "lines[0]", "must be an object"),
    ('{"numbers":5}', "numbers", "must be a list"),
    ('{"inner":[]}', "inner", "must be an object"),
    ('{"labels":[]}', "labels", "must be an object"),
    ('{"anInt32":2147483648}', "anInt32", "must lie within -2147483648 and 2147483647"),
    ('{"aUint32":-1}', "aUint32", "must lie within 0 and 4294967295"),
    ('{"anInt64":"9223372036854775808"}', "anInt64", "must lie within -9223372036854775808 and 9223372036854775807"),
    ('{"anInt32":1.5}', "anInt32", "must be a whole number"),
    ('{"anInt32":1e-999999999}', "anInt32", "must be a whole number"),
    ('{"anInt32":1e999999999}', "anInt32", "is out of range"),
    ('{"anInt32":true}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":""}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":" 1"}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":"1_0"}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":"\\u0661"}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":"+1"}', "anInt32", "must be an integer, as a number or a string"),
    ('{"anInt32":"01"}', "anInt32", "must be an integer, as a number or a string"),
    ('{"aDouble":"x"}', "aDouble", "must be a number"),
    ('{"aDouble":true}', "aDouble", "must be a number"),
    ('{"aDouble":1e400}', "aDouble", "is out of range"),
    ('{"aFloat":1e39}', "aFloat", "is out of range"),
    ('{"aBool":"true"}', "aBool", "must be true or false"),
    ('{"aBool":1}', "aBool", "must be true or false"),
    ('{"aString":5}', "aString", "must be a string"),
    ('{"aString":"a\\u0000b"}', "aString", "must not hold NUL"),
    ('{"aString":"\\ud800"}', "aString", "holds half of a surrogate pair"),
    ('{"words":["a","\\udc00"]}', "words[1]", "holds half of a surrogate pair"),
    ('{"someBytes":"%%%"}', "someBytes", "must be base64"),
    ('{"someBytes":"A"}', "someBytes", "must be base64"),
    ('{"shade":"PINK"}', "shade", "must be one of SHADE_UNSPECIFIED, SHADE_RED, SHADE_NUDE"),
    ('{"shade":true}', "shade", "must be one of SHADE_UNSPECIFIED, SHADE_RED, SHADE_NUDE"),
    ('{"shade":1e12}', "shade", "must lie within -2147483648 and 2147483647"),
    ('{"aString":"a","a_string":"a"}', "aString", "is given twice, also as a_string"),
    ('{"a_string":"a","aString":"a"}', "aString", "is given twice, also as a_string"),
    ('{"aString":"a","aString":"a"}', "aString", "is given twice"),
    ('{"lines":[{},{"sku_code":"a","sku_code":"a"}]}', "lines[1].skuCode", "is given twice"),
    ('{"inner":{"nope":1,"quantity":1,"nope":1}}', "inner.nope", "is given twice"),
    ('{"labels":{"a":"1","b":"2","b":"2"}}', 'labels["b"]', "is given twice"),
    ('{"byNumber":{"7":{"quantity":1,"quantity":1}}}', 'byNumber["7"].quantity', "is given twice"),
    ('{"aStruct":{"a":[{"b":1,"b":1}]}}', "aStruct.a[0].b", "is given twice"),
    ('{"aValue":{"b":1,"b":1}}', "aValue.b", "is given twice"),
    ('{"aList":[{"b":1,"b":1}]}', "aList[0].b", "is given twice"),
    ('{"nope":{"a":1,"a":1}}', "nope", "is not known"),
    ('{"aString":{"a":1,"a":1}}', "aString", "must be a string"),
    ('{"aMask":{"a":1,"a":1}}', "aMask", "must be a string of paths, separated by commas"),
    ('{"text":"a","count":"1"}', "count", "excludes text, which is given as well"),
    ('{"text":"a","thing":{}}', "thing", "excludes text, which is given as well"),
    ('{"aTime":"2026-03-01"}', "aTime", "must be a time of RFC 3339, such as 2026-03-01T12:00:00Z"),
    ('{"aTime":1}', "aTime", "must be a time of RFC 3339, such as 2026-03-01T12:00:00Z"),
    ('{"aTime":"2026-02-30T12:00:00Z"}', "aTime", "is no time that exists"),
    ('{"aTime":"2026-02-20T25:00:00Z"}', "aTime", "is no time that exists"),
    ('{"aTime":"0001-01-01T00:00:00+01:00"}', "aTime", "is no time that exists"),
    ('{"aDuration":"1"}', "aDuration", "must be a duration in seconds, such as 1.5s"),
    ('{"aDuration":"1m"}', "aDuration", "must be a duration in seconds, such as 1.5s"),
    ('{"aDuration":"315576000001s"}', "aDuration", "is out of range"),
    ('{"aDuration":"315576000000.1s"}', "aDuration", "is out of range"),
    ('{"aMask":"a_b"}', "aMask", "holds 'a_b', which is no path in lowerCamelCase"),
    ('{"aStruct":{"a":[{"b":"\\u0000"}]}}', "aStruct.a[0].b", "must not hold NUL"),
    ('{"aStruct":[]}', "aStruct", "must be an object"),
    ('{"aList":{}}', "aList", "must be a list"),
    ('{"aValue":1e999}', "aValue", "is out of range"),
    ("[]", None, "must be an object"),
    ("null", None, "must be an object"),
    ("", None, "the body is not JSON: Expecting value at character 1"),
    ("{", None, "the body is not JSON: Expecting property name enclosed in double quotes at character 2"),
    ('{"aDouble":NaN}', None, "the body holds NaN, which JSON does not know"),
    ('{"aDouble":-Infinity}', None, "the body holds -Infinity, which JSON does not know"),
    ('{"anInt32":' + "9" * 5000 + "}", None, "the body holds a number that is far out of range"),
    ('{"anInt32":1e9999999999999999999}', None, "the body holds a number that is far out of range"),
    (b"\xff", None, "the body is not UTF-8"),
    ("{}".encode("utf-16"), None, "the body is not UTF-8"),
    ('{"\\ud800":1}', "?", "is not known"),
    ('{"' + "x" * 100 + '":1}', "x" * 64, "is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "said"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
def test_misfit_is_refused_with_its_path(text: str | bytes, path: str | None, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert [(each.field, each.description) for each in refused.value.violations] == (
        [] if path is None else [(path, said)]
    )
    assert refused.value.message == (said if path is None else f"{path}: {said}")


TOO_MANY = [
    ('{"lines":[1,2,3]}', "lines", "must contain no more than 2 item(s)"),
    ('{"numbers":["x","x","x"]}', "numbers", "must contain no more than 2 item(s)"),
    ('{"pairs":{"a":1,"b":1,"c":1}}', "pairs", "map must be at most 2 entries"),
    ('{"lines":[{},1]}', "lines[1]", "must be an object"),
]


@pytest.mark.parametrize(("text", "path", "said"), TOO_MANY, ids=[row[0] for row in TOO_MANY])
def test_too_many_entries_are_refused_before_any_is_read(text: str, path: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text, Few)
    assert [(each.field, each.description) for each in refused.value.violations] == [(path, said)]


def test_key_that_is_given_twice_is_found_in_linear_time() -> None:
    names = ",".join(f'"x{number}":1' for number in range(50_000))
    begun = time.process_time()
    with pytest.raises(InvalidRequest) as refused:
        read("{" + names + ',"x49999":2}')
    assert refused.value.message == "x49999: is given twice"
    assert time.process_time() - begun < 1.0  # 50 ms; by counting each name among all it took a minute


NESTED = [
    ('{"child":' * 100 + "{}" + "}" * 100, ".".join(["child"] * (DEPTH_MAX + 1)), "is nested too deeply"),
    ('{"aValue":' + "[" * 100 + "]" * 100 + "}", "aValue" + "[0]" * DEPTH_MAX, "is nested too deeply"),
    ('{"nope":' + "[" * 100 + "]" * 100 + "}", "nope", "is not known"),
    ('{"aString":' + "[" * 100 + "]" * 100 + "}", "aString", "must be a string"),
]


@pytest.mark.parametrize(("text", "path", "said"), NESTED, ids=["types", "value", "unknown", "wrong"])
def test_hundred_levels_are_refused(text: str, path: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert [(each.field, each.description) for each in refused.value.violations] == [(path, said)]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"child":' * 100_000, '{"aValue":' + "[" * 200_000 + "]" * 200_000 + "}"]
)
def test_bottomless_nesting_is_refused_and_overruns_nothing(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert refused.value.message == "the body is nested too deeply"


def test_deepest_value_that_is_read_survives_the_wire() -> None:
    levels = DEPTH_MAX - 1
    message = read('{"aValue":' + '{"a":' * levels + "1" + "}" * levels + "}")
    assert All.FromString(message.SerializeToString()) == message


WRITTEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"an_int64": 5}, {"anInt64": "5"}),
    ({"a_uint64": 2**64 - 1}, {"aUint64": "18446744073709551615"}),
    ({"an_int32": -5}, {"anInt32": -5}),
    ({"a_float": 0.1}, {"aFloat": 0.1}),
    ({"a_double": 1e22}, {"aDouble": 1e22}),
    ({"a_double": float("inf")}, {"aDouble": "Infinity"}),
    ({"a_bool": True}, {"aBool": True}),
    ({"shade": 1}, {"shade": "SHADE_RED"}),
    ({"shade": 9}, {"shade": 9}),
    ({"some_bytes": b"\xfb\xff"}, {"someBytes": "+/8="}),
    ({"inner": Inner()}, {"inner": {"skuCode": "", "quantity": "0"}}),
    ({"maybe_number": 0}, {"maybeNumber": "0"}),
    ({"text": ""}, {"text": ""}),
    ({"labels": {"b": "2", "a": "1"}}, {"labels": {"a": "1", "b": "2"}}),
    ({"by_flag": {True: 1}}, {"byFlag": {"true": "1"}}),
    ({"a_time": Timestamp(seconds=1772366400)}, {"aTime": "2026-03-01T12:00:00Z"}),
    ({"a_time": Timestamp(seconds=-1, nanos=1000)}, {"aTime": "1969-12-31T23:59:59.000001Z"}),
    ({"a_time": Timestamp(seconds=-62135596800, nanos=1)}, {"aTime": "0001-01-01T00:00:00.000000001Z"}),
    ({"a_duration": Duration(nanos=-500_000_000)}, {"aDuration": "-0.500s"}),
    ({"a_mask": {"paths": ["a.b_c", "d"]}}, {"aMask": "a.bC,d"}),
    ({"wrapped_int64": {"value": 5}}, {"wrappedInt64": "5"}),
    ({"a_value": Value(number_value=5)}, {"aValue": 5}),
    ({"a_value": Value()}, {"aValue": None}),
]  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "aDouble": 0, "aFloat": 0, "anInt32": 0, "anInt64": "0", "aUint32": 0, "aUint64": "0", "aSint32": 0, "aSint64": "0",
    "aFixed32": 0, "aFixed64": "0", "aSfixed32": 0, "aSfixed64": "0", "aBool": False, "aString": "", "someBytes": "",
    "shade": "SHADE_UNSPECIFIED", "numbers": [], "words": [], "shades": [], "lines": [], "labels": {}, "byNumber": {},
    "byFlag": {}, "values": [], "times": [],
}  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), WRITTEN, ids=[str(row[1]) for row in WRITTEN])
def test_fields_are_written_with_zeros_but_without_what_is_not_set(fields: Any, said: Any) -> None:
    assert written(All(**fields)) == {**DEFAULTS, **said}


def test_answer_is_one_line_of_utf_8() -> None:
    body = CODECS.of(Inner.DESCRIPTOR).encode(Inner(sku_code='é\n"\u2028'))
    assert body == '{"skuCode":"é\\n\\"\u2028","quantity":"0"}'.encode()


def agrees_with_json_format(message: Any) -> None:
    message_class = type(message)
    body = CODECS.of(message_class.DESCRIPTOR).encode(message)
    read_back = (
        read(body, message_class),
        json_format.Parse(body, message_class()),
        read(json_format.MessageToJson(message), message_class),
        read(json_format.MessageToJson(message, preserving_proto_field_name=True), message_class),
    )
    wanted = message.SerializeToString(deterministic=True)
    assert [each.SerializeToString(deterministic=True) for each in read_back] == [wanted] * len(read_back)
    full = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    assert json.loads(body) == json.loads(json.dumps(full))


@settings(max_examples=200)
@given(message=messages_of(All.DESCRIPTOR))
def test_codec_agrees_with_json_format_on_every_type_of_field(message: Any) -> None:
    agrees_with_json_format(message)


@pytest.mark.parametrize("message_class", MESSAGES, ids=lambda each: each.DESCRIPTOR.full_name)
@settings(max_examples=10)
@given(data=st.data())
def test_codec_agrees_with_json_format_on_messages_of_the_mesh(message_class: Any, data: st.DataObject) -> None:
    agrees_with_json_format(data.draw(messages_of(message_class.DESCRIPTOR)))
