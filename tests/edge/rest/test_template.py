from __future__ import annotations

import pytest

from edge_gateway.rest.template import TemplateFault, Variable, parse_template

READ = [
    ("/v1/skus", ("v1", "skus"), (), ""),
    ("/v1/skus:batchUpsert", ("v1", "skus"), (), "batchUpsert"),
    ("/v1/*/x", ("v1", "*", "x"), (), ""),
    ("/v1/**", ("v1", "**"), (), ""),
    ("/v1/skus/{sku}", ("v1", "skus", "*"), (Variable("sku", 2, 3),), ""),
    ("/v1/skus/{sku=*}", ("v1", "skus", "*"), (Variable("sku", 2, 3),), ""),
    ("/v1/{a.b_c.d}", ("v1", "*"), (Variable("a.b_c.d", 1, 2),), ""),
    ("/v1/{a.b=x/*}/y", ("v1", "x", "*", "y"), (Variable("a.b", 1, 3),), ""),
    ("/v1/{name=shelves/*/books/**}:move", ("v1", "shelves", "*", "books", "**"), (Variable("name", 1, None),), "move"),
    ("/{a}/{b}:go", ("*", "*"), (Variable("a", 0, 1), Variable("b", 1, 2)), "go"),
    ("/v1/{a=**}", ("v1", "**"), (Variable("a", 1, None),), ""),
    ("/v1/{a=fixed}", ("v1", "fixed"), (Variable("a", 1, 2),), ""),
]


@pytest.mark.parametrize(("text", "segments", "variables", "verb"), READ, ids=[row[0] for row in READ])
def test_template_is_read(text: str, segments: object, variables: object, verb: str) -> None:
    template = parse_template(text)
    assert (template.segments, template.variables, template.verb) == (segments, variables, verb)


REFUSED = [
    ("", "expected '/' at character 1"),
    ("v1/skus", "expected '/' at character 1"),
    ("/", "expected a segment at character 2"),
    ("/v1/", "expected a segment at character 5"),
    ("/v1//skus", "expected a segment at character 5"),
    ("/v1/skus:", "expected a verb at character 10"),
    ("/v1/skus:a:b", "expected the end, '/' or ':' at character 11"),
    ("/v1/skus:a/b", "expected the end, '/' or ':' at character 11"),
    ("/v1/{sku", "expected '}' at character 9"),
    ("/v1/{}", "expected a field path at character 6"),
    ("/v1/{1a}", "expected a field path at character 6"),
    ("/v1/{a.}", "expected '}' at character 7"),
    ("/v1/{a=}", "expected a segment at character 8"),
    ("/v1/{a={b}}", "expected a segment at character 8"),
    ("/v1/x{a}", "expected the end, '/' or ':' at character 6"),
    ("/v1/***", "expected the end, '/' or ':' at character 7"),
    ("/v1/**/x", "nothing but a verb may follow '**'"),
    ("/v1/{a=**}/{b}", "nothing but a verb may follow '**'"),
    ("/v1/{a}/{a}", "binds a twice"),
    ("/v1/x%20y", "expected the end, '/' or ':' at character 6"),
    ("/v1/sk us", "expected the end, '/' or ':' at character 7"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_malformed_template_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(TemplateFault) as refused:
        parse_template(text)
    assert str(refused.value) == f"{text!r}: {said}"


RELATIONS = [
    # (one, other, they overlap, one covers other)
    ("/a/{x}", "/a/{y}", True, True),
    ("/a/{x}", "/a/b", True, True),
    ("/a/b", "/a/{x}", True, False),
    ("/a/{x}", "/b/{x}", False, False),
    ("/{x}/b", "/a/{y}", True, False),
    ("/a/**", "/a", True, True),
    ("/a", "/a/**", True, False),
    ("/a/**", "/a/{x}/c", True, True),
    ("/a/{x}", "/a/{x}/c", False, False),
    ("/a/{x}", "/a/{x}:go", False, False),
    ("/**", "/a/b", True, True),
]


@pytest.mark.parametrize(("one", "other", "overlap", "cover"), RELATIONS)
def test_templates_know_what_they_share(one: str, other: str, overlap: bool, cover: bool) -> None:  # noqa: FBT001 — a table
    first, second = parse_template(one), parse_template(other)
    assert (first.overlaps(second), second.overlaps(first), first.covers(second)) == (overlap, overlap, cover)
