from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshctl import demo
from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, serving
from tests.meshctl.test_up import up_in_a_new_folder


@pytest.fixture
def mesh(embedded: Embedded, tmp_path: Path) -> Iterator[Mesh]:
    with serving(embedded, tmp_path, "inventory", "promo") as running:
        yield running


def test_loading_twice_leaves_what_loading_once_leaves(mesh: Mesh) -> None:
    first = demo.load(mesh.ready)
    levels = mesh.rows("SELECT sku, location, on_hand FROM stock_level")
    assert first == demo.Summary(len(demo.skus()), 3, sum(row[2] for row in levels), loaded=True)
    heads = mesh.head(), mesh.head("promo")
    assert demo.load(mesh.ready) == demo.Summary(first.skus, 3, first.units, loaded=False)
    assert mesh.rows("SELECT sku, location, on_hand FROM stock_level") == levels
    assert (mesh.head(), mesh.head("promo")) == heads


def test_stock_that_has_moved_since_is_not_counted_again(mesh: Mesh) -> None:
    demo.load(mesh.ready)
    mesh.rows("UPDATE stock_level SET on_hand = 7 RETURNING 1")
    assert not demo.load(mesh.ready).loaded
    assert mesh.rows("SELECT DISTINCT on_hand FROM stock_level") == [(7,)]


def test_the_catalogue_has_three_kinds_of_location_and_variants_under_products() -> None:
    skus = demo.skus()
    assert len({sku.sku for sku in skus}) == len(skus) == 79
    assert len({sku.product for sku in skus}) == len(demo.PRODUCTS) == 25
    assert len({place.kind for place in demo.LOCATIONS}) == 3
    assert {line.location for line in demo.counts()} == {place.location for place in demo.LOCATIONS}


def test_the_five_lines_that_up_prints_work_as_printed_one_after_the_other() -> None:
    with up_in_a_new_folder("--demo") as up:
        up.wait_until_ready()
        up.wait_until_said("try:\n")
        lines = [line.strip() for line in up.output().partition("try:\n")[2].splitlines()]
        assert len(lines) == 5
        for _ in range(2):  # and again: none uses up what the next visitor needs
            availability, cart, checkout, storefront, stream = _paste(lines)
            assert json.loads(availability)["availability"]["channel"] == "default"
            assert _total(json.loads(cart)) == ("8400", "5720")
            held = json.loads(checkout)["checkout"]
            assert (held["state"], _total(held)) == ("CHECKOUT_STATE_OPEN", ("8400", "5720"))
            assert json.loads(storefront)["status"] == "STOCK_STATUS_IN_STOCK"
            assert "event: snapshot\ndata: {" in stream
        up.stop()


def _total(priced: dict[str, Any]) -> tuple[str, str]:
    """Minor units before and after the offers: two at 42.00, less 20 %, less 10.00."""
    totals = priced["totals"]
    assert {totals[name]["currency"] for name in ("subtotal", "total")} == {"USD"}
    return totals["subtotal"]["minor"], totals["total"]["minor"]


def _paste(lines: list[str]) -> list[str]:
    """What each line prints, in one shell; the last one ends with curl's code for the end of its time."""
    mark = "-----"
    script = "".join(f"{line}\necho; echo '{mark}'\n" for line in lines)
    result = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    *said, rest = result.stdout.split(f"{mark}\n")
    assert rest == ""
    return said
