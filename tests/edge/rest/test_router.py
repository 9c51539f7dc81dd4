from __future__ import annotations

import pytest

from edge_gateway.rest.problems import TransportProblem
from edge_gateway.rest.router import CACHED_PATHS_MAX, Router
from meshkit.core.errors import InvalidRequest
from meshkit.rpc.options import ContractFault

ROUTES = [
    ("GET", "/v1/skus", "list"),
    ("POST", "/v1/skus:batchUpsert", "upsert"),
    ("GET", "/v1/skus/{sku}/availability", "availability"),
    ("GET", "/v1/reservations/{id}", "reservation"),
    ("POST", "/v1/reservations/{id}:commit", "commit"),
    ("POST", "/v1/reservations", "reserve"),
    ("GET", "/v1/reservations/summary", "summary"),
    ("GET", "/v1/files/{name=**}", "file"),
    ("POST", "/v1/files/{name=**}:copy", "copy"),
    ("GET", "/v1/{parent=shelves/*}/books/{book}", "book"),
    ("PUT", "/v1/{any}/availability", "put"),
    ("*", "/v1/loose/{name}", "loose"),
    ("GET", "/v1/loose/{name=**}", "get"),
    ("HEAD", "/v1/heads/{name}", "head"),
    ("GET", "/v1/heads/{name}", "get head"),
    ("*", "/v1/heads/{name}", "any head"),
    ("PURGE", "/v1/heads/{name}", "purge"),
]


@pytest.fixture
def router() -> Router[str]:
    router: Router[str] = Router()
    for method, path, target in ROUTES:
        router.add(method, path, target)
    return router


FOUND = [
    ("GET", b"/v1/skus", "list", ()),
    ("HEAD", b"/v1/skus", "list", ()),
    ("GET", b"/v1/%73kus", "list", ()),
    ("POST", b"/v1/skus:batchUpsert", "upsert", ()),
    ("GET", b"/v1/skus/ABC/availability", "availability", ("ABC",)),
    ("GET", b"/v1/skus/a%2Fb/availability", "availability", ("a/b",)),
    ("GET", b"/v1/skus/a%252Fb/availability", "availability", ("a%2Fb",)),
    ("GET", b"/v1/skus/%C3%A9%20+/availability", "availability", ("é +",)),
    ("GET", b"/v1/skus/../availability", "availability", ("..",)),
    ("GET", b"/v1/skus/%2E%2E%2Fx/availability", "availability", ("../x",)),
    ("GET", b"/v1/reservations/r1", "reservation", ("r1",)),
    ("GET", b"/v1/reservations/summary", "summary", ()),
    ("POST", b"/v1/reservations/r1:commit", "commit", ("r1",)),
    ("POST", b"/v1/reservations/a%3Acommit:commit", "commit", ("a:commit",)),
    ("POST", b"/v1/reservations/a:b:commit", "commit", ("a:b",)),
    ("GET", b"/v1/reservations/r1%3Acommit", "reservation", ("r1:commit",)),
    ("GET", b"/v1/reservations/a:b", "reservation", ("a:b",)),
    ("GET", b"/v1/files/a/b/c", "file", ("a/b/c",)),
    ("GET", b"/v1/files/a%2Fb/%C3%A9%2fx", "file", ("a%2Fb/é%2fx",)),
    ("GET", b"/v1/files", "file", ("",)),
    ("POST", b"/v1/files/a/b:copy", "copy", ("a/b",)),
    ("POST", b"/v1/loose/a", "loose", ("a",)),
    ("BREW", b"/v1/loose/a", "loose", ("a",)),
    ("GET", b"/v1/loose/a", "get", ("a",)),
    ("HEAD", b"/v1/loose/a", "get", ("a",)),
    ("HEAD", b"/v1/heads/a", "head", ("a",)),
    ("GET", b"/v1/heads/a", "get head", ("a",)),
    ("PURGE", b"/v1/heads/a", "purge", ("a",)),
    ("DELETE", b"/v1/heads/a", "any head", ("a",)),
    ("GET", b"/v1/shelves/s%2F1/books/b%2F1", "book", ("shelves/s%2F1", "b/1")),
]


@pytest.mark.parametrize(("method", "path", "target", "values"), FOUND, ids=[f"{r[0]} {r[1]!r}" for r in FOUND])
def test_path_finds_its_route(router: Router[str], method: str, path: bytes, target: str, values: object) -> None:
    for _ in range(2):  # the second time from memory
        found = router.match(method, path)
        assert (found.target, found.values) == (target, values)


MISSING = [
    b"/",
    b"",
    b"/v1",
    b"/v1/skus/",
    b"//v1/skus",
    b"/v1//skus",
    b"/v1/skus/ABC",
    b"/v1/skus%2FABC",
    b"/v1/skus:no",
]


@pytest.mark.parametrize("path", MISSING)
def test_unknown_path_is_404(router: Router[str], path: bytes) -> None:
    with pytest.raises(TransportProblem) as refused:
        router.match("GET", path)
    assert (refused.value.status, refused.value.reason) == (404, "ROUTE_NOT_FOUND")


WRONG_METHOD = [
    ("DELETE", b"/v1/skus", "GET, HEAD, OPTIONS"),
    ("GET", b"/v1/reservations/r1:commit", "OPTIONS, POST"),
    ("POST", b"/v1/reservations/r1", "GET, HEAD, OPTIONS"),
    ("BREW", b"/v1/skus:batchUpsert", "OPTIONS, POST"),
    ("POST", b"/v1/skus/availability", "OPTIONS, PUT"),
    ("POST", b"/v1/reservations/summary", "GET, HEAD, OPTIONS"),
]


@pytest.mark.parametrize(("method", "path", "allow"), WRONG_METHOD)
def test_other_method_is_405_with_allow(router: Router[str], method: str, path: bytes, allow: str) -> None:
    with pytest.raises(TransportProblem) as refused:
        router.match(method, path)
    assert (refused.value.status, refused.value.headers) == (405, ((b"allow", allow.encode()),))
    assert router.allowed(path) == allow


def test_route_of_any_method_is_listed_as_the_methods_that_there_are(router: Router[str]) -> None:
    assert router.allowed(b"/v1/loose/a") == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    assert router.allowed(b"/v1/heads/a") == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PURGE, PUT"


MALFORMED = [
    (b"/v1/skus/%/availability", "the path holds a malformed percent-encoding"),
    (b"/v1/skus/%4/availability", "the path holds a malformed percent-encoding"),
    (b"/v1/skus/%zz/availability", "the path holds a malformed percent-encoding"),
    (b"/v1/skus/%u0041/availability", "the path holds a malformed percent-encoding"),
    (b"/v1/skus/%ff/availability", "the path is not percent-encoded UTF-8"),
    (b"/v1/skus/%C0%AF/availability", "the path is not percent-encoded UTF-8"),
    (b"/v1/skus/%ED%A0%80/availability", "the path is not percent-encoded UTF-8"),
    (b"/v1/skus/%00/availability", "the path holds NUL"),
    (b"/v1/skus/\x00/availability", "the path holds NUL"),
    (b"/v1/skus/\xff/availability", "the path is not UTF-8"),
]


@pytest.mark.parametrize(("path", "said"), MALFORMED)
def test_malformed_encoding_is_refused(router: Router[str], path: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        router.match("GET", path)
    assert refused.value.message == said


AMBIGUOUS = [
    ("/v1/a/{x}", "/v1/a/{y}"),
    ("/v1/{x}/b", "/v1/a/{y}"),
    ("/v1/{x=**}", "/v1/{y=**}"),
    ("/v1/{x}/b:go", "/v1/a/{y}:go"),
]


@pytest.mark.parametrize(("one", "other"), AMBIGUOUS)
def test_ambiguous_routes_are_a_fault_at_the_start(one: str, other: str) -> None:
    router: Router[str] = Router()
    router.add("GET", one, "one")
    router.add("POST", other, "another method's")
    with pytest.raises(ContractFault) as refused:
        router.add("GET", other, "other")
    assert str(refused.value) == f"GET {other} and GET {one} match the same paths"


def test_literal_wins_over_wildcard_whatever_the_order() -> None:
    for order in ((0, 1, 2), (2, 1, 0)):
        router: Router[str] = Router()
        routes = ["/a/**", "/a/{x}", "/a/b"]
        for index in order:
            router.add("GET", routes[index], routes[index])
        assert [router.match("GET", each).target for each in (b"/a/b", b"/a/c", b"/a/b/c")] == [
            "/a/b",
            "/a/{x}",
            "/a/**",
        ]


def test_dead_end_behind_a_literal_goes_back_to_the_wildcard() -> None:
    router: Router[str] = Router()
    router.add("GET", "/a/{x}/c", "wild")
    router.add("GET", "/a/b/d", "literal")
    assert router.match("GET", b"/a/b/c").target == "wild"


def test_memory_of_paths_is_bounded(router: Router[str]) -> None:
    for number in range(CACHED_PATHS_MAX + 10):
        router.match("GET", b"/v1/reservations/%d" % number)
    assert len(router._cached) == CACHED_PATHS_MAX  # noqa: SLF001 — a bound shows nowhere else
