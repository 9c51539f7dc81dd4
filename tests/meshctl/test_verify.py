from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from meshctl import demo
from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, beautymesh, serving


@pytest.fixture(scope="module")
def mesh(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """With the demo catalogue. What a test plants it takes out again."""
    with serving(embedded, tmp_path_factory.mktemp("mesh")) as running:
        demo.load(running.ready)
        yield running


@contextlib.contextmanager
def planted(url: str, statement: LiteralString, *arguments: object) -> Iterator[None]:
    """The fault is in the database meanwhile. `statement` adds its first argument to something."""
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(statement, [1, *arguments]).rowcount == 1
        try:
            yield
        finally:
            connection.execute(statement, [-1, *arguments])


def test_a_sound_log_is_said_to_agree(mesh: Mesh) -> None:
    result = mesh.beautymesh("verify")
    assert result.returncode == 0, result.stderr
    assert [line.partition(",")[0] for line in result.stdout.splitlines()] == [
        "inventory: all agrees: 3 revisions",
        "promo: all agrees: 5 revisions",
        "profile: all agrees: 0 revisions",
    ]


def test_with_an_address_only_that_inventory_is_asked(mesh: Mesh) -> None:
    address, token = mesh.endpoint().addresses[0], mesh.endpoint().token
    result = beautymesh("verify", "--address", address, "--token", token)
    assert result.stdout.splitlines() == [next(iter(mesh.beautymesh("verify").stdout.splitlines()))]


def test_a_counter_that_the_log_does_not_explain_is_shown(mesh: Mesh) -> None:
    sku = demo.skus()[0].sku
    plant: LiteralString = "UPDATE stock_level SET on_hand = on_hand + %s WHERE sku = %s AND location = 'WH-LYON'"
    with planted(mesh.database_urls["inventory"], plant, sku):
        result = mesh.beautymesh("verify")
    assert result.returncode == 1, result.stderr
    assert sku in result.stdout
    assert "inventory: all agrees" not in result.stdout
    assert "promo: all agrees" in result.stdout  # the others are checked all the same


def test_a_price_that_the_log_does_not_explain_is_shown(mesh: Mesh) -> None:
    sku = demo.skus()[0].sku
    plant: LiteralString = "UPDATE price SET price_minor = price_minor + %s WHERE sku = %s"
    with planted(mesh.database_urls["promo"], plant, sku):
        result = mesh.beautymesh("verify")
    assert result.returncode == 1, result.stderr
    assert "inventory: all agrees" in result.stdout
    assert sku in result.stdout
    assert "promo: all agrees" not in result.stdout
