from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshctl import demo
from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, serving


@pytest.fixture
def mesh(embedded: Embedded, tmp_path: Path) -> Iterator[Mesh]:
    with serving(embedded, tmp_path) as running:
        yield running


def test_loading_twice_leaves_what_loading_once_leaves(mesh: Mesh) -> None:
    first = demo.load(mesh.ready)
    levels = mesh.rows("SELECT sku, location, on_hand FROM stock_level")
    assert first == demo.Summary(len(demo.skus()), 3, sum(row[2] for row in levels), loaded=True)
    head = mesh.head()
    assert demo.load(mesh.ready) == demo.Summary(first.skus, 3, first.units, loaded=False)
    assert (mesh.head(), mesh.rows("SELECT sku, location, on_hand FROM stock_level")) == (head, levels)


def test_stock_that_has_moved_since_is_not_counted_again(mesh: Mesh) -> None:
    demo.load(mesh.ready)
    result = _run(demo.lines_to_try(mesh.ready))
    assert "reservation_id" in result.stdout, result.stderr
    held = mesh.rows("SELECT reserved FROM stock_level WHERE reserved > 0")
    demo.load(mesh.ready)
    assert mesh.rows("SELECT reserved FROM stock_level WHERE reserved > 0") == held == [(2,)]


def test_the_catalogue_has_three_kinds_of_location_and_variants_under_products() -> None:
    skus = demo.skus()
    assert len({sku.sku for sku in skus}) == len(skus) == 79
    assert len({sku.product for sku in skus}) == len(demo.PRODUCTS) == 25
    assert len({place.kind for place in demo.LOCATIONS}) == 3
    assert {line.location for line in demo.counts()} == {place.location for place in demo.LOCATIONS}


def _run(lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Pastes the export and the call; the others need an installed program or do not end."""
    export, _, call, *_ = lines
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        ["sh", "-c", f"{export}\n{call}"], capture_output=True, text=True, check=False, env=environment
    )
