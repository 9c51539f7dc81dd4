from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import Embedded
from tests.meshctl.serving import Mesh, beautymesh, serving


@pytest.fixture(scope="module")
def mesh(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with serving(embedded, tmp_path_factory.mktemp("mesh"), "inventory", "promo") as running:
        yield running


@pytest.fixture
def brand(tmp_path: Path) -> str:
    """A brand of the test's own, so that all of them can share one mesh."""
    return tmp_path.name


@pytest.fixture
def file(tmp_path: Path, brand: str) -> Path:
    path = tmp_path / "catalogue.csv"
    path.write_text(f"Label,Brand,Name,Price\nLips,{brand},Crème Balm,12\nFace,{brand},Powder,34\n", encoding="cp1252")
    return path


def levels(mesh: Mesh, brand: str) -> list[int]:
    return [
        row[0] for row in mesh.rows(f"SELECT on_hand FROM stock_level JOIN sku USING (sku) WHERE brand = '{brand}'")
    ]


def prices(mesh: Mesh, brand: str) -> list[tuple[str, str, int, str, bool]]:
    """What promo knows of the brand's SKUs, by the rest of their code."""
    found = mesh.rows(
        f"SELECT sku, channel, price_minor, currency, tax_included FROM price WHERE sku LIKE '{brand}-%' ORDER BY sku",
        "promo",
    )
    return [(sku.removeprefix(f"{brand}-"), *rest) for sku, *rest in found]


def counts(said: str) -> dict[str, int]:
    """The summary's table."""
    lines = [line.strip(" │").split("│") for line in said.splitlines() if line.startswith("│")]
    return {name.strip(): int(count.replace(",", "")) for name, count in lines}


def summary(**given: int) -> dict[str, int]:
    names = {
        "read": "rows read",
        "made": "SKUs made",
        "updated": "SKUs updated",
        "unchanged": "SKUs unchanged",
        "priced": "prices set",
        "prices_unchanged": "prices unchanged",
        "received": "SKUs with stock received",
        "shortened": "rows with a shortened value",
        "refused": "rows refused",
        "revision": "revision",
    }
    return {said: given.get(name, 0) for name, said in names.items()}


def test_a_second_import_changes_nothing(mesh: Mesh, file: Path) -> None:
    head = mesh.head()
    first = mesh.beautymesh("import-catalogue", str(file), "--encoding", "cp1252")
    assert counts(first.stdout) == summary(read=2, made=2, priced=2, revision=head + 1), first.stderr
    promo_head = mesh.head("promo")
    second = mesh.beautymesh("import-catalogue", str(file), "--encoding", "cp1252")
    assert counts(second.stdout) == summary(read=2, unchanged=2, prices_unchanged=2, revision=head + 1), second.stderr
    assert (mesh.head(), mesh.head("promo")) == (head + 1, promo_head)


def test_what_was_imported_before_something_else_is_imported_again(mesh: Mesh, file: Path, brand: str) -> None:
    for price in ("12", "13.5", "12"):
        file.write_text(f"brand,name,price\n{brand},Balm,{price}\n")
        mesh.beautymesh("import-catalogue", str(file))
    assert mesh.rows(f"SELECT attributes FROM sku WHERE brand = '{brand}'") == [({"price_usd": "12"},)]
    assert [row[2] for row in prices(mesh, brand)] == [1_200]


def test_prices_are_whole_cents_of_dollars_for_all_channels_from_ever_on(mesh: Mesh, file: Path, brand: str) -> None:
    file.write_text(f"sku,brand,name,price\n{brand}-A,{brand},A,12\n{brand}-B,{brand},B,0.1\n{brand}-C,{brand},C,\n")
    result = mesh.beautymesh("import-catalogue", str(file))
    assert counts(result.stdout)["prices set"] == 2, result.stderr
    assert prices(mesh, brand) == [("A", "", 1_200, "USD", False), ("B", "", 10, "USD", False)]


def test_a_file_with_prices_needs_promo(mesh: Mesh, file: Path) -> None:
    address, token = mesh.endpoint().addresses[0], mesh.endpoint().token
    where = ("--address", address, "--token", token, "--encoding", "cp1252")
    head = mesh.head()
    refused = beautymesh("import-catalogue", str(file), *where)
    assert refused.returncode == 1
    assert "name one of its processes with --promo-address" in refused.stderr
    assert mesh.head() == head
    named = beautymesh("import-catalogue", str(file), *where, "--promo-address", mesh.endpoint("promo").addresses[0])
    assert counts(named.stdout)["prices set"] == 2, named.stderr


def test_the_wrong_encoding_imports_nothing(mesh: Mesh, file: Path) -> None:
    head = mesh.head()
    result = mesh.beautymesh("import-catalogue", str(file))
    assert result.returncode == 1
    assert f"byte 0xe8 at offset {file.read_bytes().index(0xE8)}, line 2; nothing was imported" in result.stderr
    assert "--encoding cp1252" in result.stderr
    assert mesh.head() == head


def test_refused_rows_are_listed_and_the_others_imported(mesh: Mesh, file: Path, brand: str) -> None:
    file.write_text(f"brand,name,price\n{brand},,12\n{brand},Balm,x\n{brand},Powder,34\n")
    result = mesh.beautymesh("import-catalogue", str(file))
    assert counts(result.stdout) == summary(read=3, made=1, priced=1, refused=2, revision=mesh.head())
    assert "line 2 refused: name is missing" in result.stdout
    assert "line 3 refused: price 'x' is not an amount of dollars such as 12 or 12.50" in result.stdout


def test_a_file_without_a_single_good_row_is_refused(mesh: Mesh, file: Path) -> None:
    file.write_text("sku,name\nA,\n")
    head = mesh.head()
    result = mesh.beautymesh("import-catalogue", str(file))
    assert result.returncode == 1
    assert "line 2 refused: name is missing" in result.stdout
    assert mesh.head() == head


def test_stock_is_received_once_at_a_location_that_is_made(mesh: Mesh, file: Path, brand: str) -> None:
    arguments = ("import-catalogue", str(file), "--encoding", "cp1252", "--location", brand, "--quantity", "25")
    for _ in range(2):
        result = mesh.beautymesh(*arguments)
        assert counts(result.stdout)["SKUs with stock received"] == 2, result.stderr
    assert levels(mesh, brand) == [25, 25]
    assert mesh.rows(f"SELECT name, kind FROM location WHERE location = '{brand}'") == [(brand, "warehouse")]


def test_a_file_that_has_grown_receives_only_what_is_new(mesh: Mesh, file: Path, brand: str) -> None:
    for names in ("AB", "ABC"):
        file.write_text("brand,name\n" + "".join(f"{brand},{name}\n" for name in names))
        mesh.beautymesh("import-catalogue", str(file), "--location", "WH", "--quantity", "25")
    assert levels(mesh, brand) == [25, 25, 25]


def test_a_known_location_keeps_its_name(mesh: Mesh, file: Path, brand: str) -> None:
    file.write_text(f"brand,name\n{brand},Balm\n")
    mesh.beautymesh("import-catalogue", str(file), "--location", brand)
    assert mesh.rows(f"UPDATE location SET name = 'Lyon' WHERE location = '{brand}' RETURNING 1") == [(1,)]
    mesh.beautymesh("import-catalogue", str(file), "--location", brand, "--quantity", "1")
    assert mesh.rows(f"SELECT name FROM location WHERE location = '{brand}'") == [("Lyon",)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--quantity", "5"), "--quantity needs a place to put the units"),
        (("--location", ""), "the location must be at least 1 characters"),
        (("--location", "x" * 65), "the location must be at most 64 characters"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(file: Path, arguments: tuple[str, ...], said: str) -> None:
    result = beautymesh("import-catalogue", str(file), "--encoding", "cp1252", *arguments)
    assert result.returncode == 1
    assert said in result.stderr


def test_a_mesh_that_is_not_up_is_said_in_one_sentence(file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    result = beautymesh("import-catalogue", str(file), "--encoding", "cp1252", "--ready-file", str(missing))
    assert result.returncode == 1
    assert f"nothing is up: there is no {missing}" in result.stderr
