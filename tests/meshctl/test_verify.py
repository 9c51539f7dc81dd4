from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from meshctl import demo
from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, serving


@pytest.fixture
def mesh(embedded: Embedded, tmp_path: Path) -> Iterator[Mesh]:
    with serving(embedded, tmp_path) as running:
        demo.load(running.ready)
        yield running


def test_a_sound_log_is_said_to_agree(mesh: Mesh) -> None:
    result = mesh.beautymesh("verify")
    assert result.returncode == 0, result.stderr
    assert "all agrees: 3 revisions" in result.stdout


def test_a_counter_that_the_log_does_not_explain_is_shown(mesh: Mesh) -> None:
    sku = demo.skus()[0].sku
    with psycopg.connect(mesh.database_url) as connection:
        connection.execute(
            "UPDATE stock_level SET on_hand = on_hand + 1 WHERE sku = %s AND location = 'WH-LYON'", [sku]
        )
    result = mesh.beautymesh("verify")
    assert result.returncode == 1, result.stderr
    assert sku in result.stdout
    assert "all agrees" not in result.stdout
