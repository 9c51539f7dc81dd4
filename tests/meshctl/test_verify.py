from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from meshctl import demo
from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, beautymesh, serving


@pytest.fixture
def mesh(embedded: Embedded, tmp_path: Path) -> Iterator[Mesh]:
    with serving(embedded, tmp_path) as running:
        demo.load(running.ready)
        yield running


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
    with psycopg.connect(mesh.database_urls["inventory"]) as connection:
        connection.execute(
            "UPDATE stock_level SET on_hand = on_hand + 1 WHERE sku = %s AND location = 'WH-LYON'", [sku]
        )
    result = mesh.beautymesh("verify")
    assert result.returncode == 1, result.stderr
    assert sku in result.stdout
    assert "inventory: all agrees" not in result.stdout
    assert "promo: all agrees" in result.stdout  # the others are checked all the same


def test_a_price_that_the_log_does_not_explain_is_shown(mesh: Mesh) -> None:
    sku = demo.skus()[0].sku
    mesh.rows(f"UPDATE price SET price_minor = price_minor + 1 WHERE sku = '{sku}' RETURNING 1", "promo")
    result = mesh.beautymesh("verify")
    assert result.returncode == 1, result.stderr
    assert "inventory: all agrees" in result.stdout
    assert sku in result.stdout
    assert "promo: all agrees" not in result.stdout
