from __future__ import annotations

import codecs
import random
from pathlib import Path

import pytest

from meshctl.catalogue_file import CatalogueFile, read_catalogue, sku_code
from meshctl.refusal import SetupRefused

COSMETICS = Path(__file__).parents[3] / "shared" / "data" / "cosmetics.csv"


def read(text: str, *, encoding: str = "utf-8") -> CatalogueFile:
    return read_catalogue(text.encode(encoding), encoding=encoding)


def refused(found: CatalogueFile) -> list[tuple[int, str]]:
    return [(note.line, note.text) for note in found.refused]


def problem(raw: bytes, *, encoding: str = "utf-8") -> str:
    with pytest.raises(SetupRefused) as refusal:
        read_catalogue(raw, encoding=encoding)
    return str(refusal.value)


def test_a_row_becomes_a_sku_with_known_columns_as_fields_and_others_as_attributes() -> None:
    found = read("sku,name,product,brand,category,Skin Type,price\nA-1,Balm,BALM,Ostrelle,Lips,dry,12.50\n")
    (sku,) = found.skus
    assert (sku.sku, sku.name, sku.product, sku.brand, sku.category) == ("A-1", "Balm", "BALM", "Ostrelle", "Lips")
    assert dict(sku.attributes) == {"skin_type": "dry", "price_usd": "12.50"}
    assert (found.rows, found.refused) == (1, [])


def test_header_names_count_in_any_case_and_label_means_category() -> None:
    (sku,) = read("LABEL,Brand,nAmE\nLips,Ostrelle,Balm\n").skus
    assert (sku.category, sku.brand, sku.name) == ("Lips", "Ostrelle", "Balm")


def test_a_code_is_readable_ascii_and_bounded() -> None:
    code = sku_code(brand="LA MER", name="Crème de la Mer™", category="Moisturizer")
    assert code == "la-mer-creme-de-la-mertm-91cb23e3"
    assert len(sku_code(brand="B" * 100, name="N" * 100, category="")) == 64
    assert sku_code(brand="資生堂", name="化粧水", category="").startswith("sku-")


def test_a_code_depends_on_neither_case_nor_spacing_nor_unicode_form() -> None:
    composed = sku_code(brand="Ostrelle", name="Cr\u00e8me  Riche", category="Face")
    assert sku_code(brand=" OSTRELLE", name="Cre\u0300me riche", category="face") == composed


def test_products_that_differ_only_in_accents_or_category_have_different_codes() -> None:
    codes = {
        sku_code(brand="B", name=name, category=category)
        for name in ("Creme", "Crème")
        for category in ("Face", "Body")
    }
    assert len(codes) == 4


def test_codes_do_not_depend_on_the_order_of_rows() -> None:
    rows = [f"Brand {n % 7},Name {n},Lips" for n in range(50)]
    shuffled = random.Random(7).sample(rows, len(rows))
    header = "brand,name,category\n"
    codes = [{sku.name: sku.sku for sku in read(header + "\n".join(order)).skus} for order in (rows, shuffled)]
    assert codes[0] == codes[1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("A", "1 columns where the header has 4"),
        ("A,Balm,B,12,x", "5 columns where the header has 4"),
        ("A,Ba\0lm,B,12", "name holds a NUL byte"),
        ("A,,B,12", "name is missing"),
        ("A,  ,B,12", "name is missing"),
        ("A,Balm,B,cheap", "price 'cheap' is not an amount of dollars such as 12 or 12.50"),
        ("A,Balm,B,-1", "price '-1' is not an amount of dollars such as 12 or 12.50"),
        ("A,Balm,B,1.234", "price '1.234' is not an amount of dollars such as 12 or 12.50"),
        (f"A,{'n' * 513},B,12", "name must be at most 512 characters"),
        (f"A,Balm,{'b' * 129},12", "brand must be at most 128 characters"),
        (f"{'s' * 65},Balm,B,12", "sku must be at most 64 characters"),
        ("first,Balm,B,12", "the same SKU (first) as in line 2"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_others_stay(row: str, reason: str) -> None:
    found = read(f"sku,name,brand,price\nfirst,First,B,1\n{row}\nlast,Last,B,1\n")
    assert refused(found) == [(3, reason)]
    assert [sku.sku for sku in found.skus] == ["first", "last"]
    assert found.rows == 3


def test_lines_are_counted_through_quoted_line_breaks_blank_lines_and_crlf() -> None:
    found = read('sku,name,note\r\nA,Balm,"two\r\nlines"\r\n\r\nB,,\r\n')
    assert found.skus[0].attributes["note"] == "two\r\nlines"
    assert refused(found) == [(5, "name is missing")]


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    raw = codecs.BOM_UTF8 + b"sku,name\nA,Balm\n"
    assert [sku.sku for sku in read_catalogue(raw, encoding="utf-8").skus] == ["A"]
    assert [sku.sku for sku in read("sku,name\nA,Balm\n", encoding="utf-16").skus] == ["A"]


def test_an_empty_value_makes_no_attribute() -> None:
    assert dict(read("sku,name,shade,price\nA,Balm,,\n").skus[0].attributes) == {}


def test_a_long_attribute_loses_its_end_at_a_comma_and_is_named() -> None:
    found = read(f'sku,name,ingredients\nA,Balm,"{", ".join(["Water"] * 1000)}"\n')
    kept = found.skus[0].attributes["ingredients"]
    assert kept == ", ".join(["Water"] * 585) + "…"
    assert [(note.line, note.text) for note in found.shortened] == [
        (2, "ingredients has 6998 characters; 4094 are kept")
    ]


@pytest.mark.parametrize(
    ("raw", "encoding", "said"),
    [
        (b"sku,name\nA,Cr\xe8me\n", "utf-8", "the file is not utf-8: byte 0xe8 at offset 13, line 2"),
        (b"sku,name\nA,Cr\xe8me\n", "utf-8", "--encoding cp1252"),
        (b"sku,name\nA,Cr\xc3\x81\n", "cp1252", "byte 0x81 at offset 14, line 2"),
        (b"sku,name\nA,Cr\xc3\x81\n", "cp1252", "it is valid UTF-8: --encoding utf-8"),
        (codecs.BOM_UTF8 + b"sku,name\n", "cp1252", "the file begins with the mark of UTF-8"),
        ("sku,name\nA,B\n".encode("utf-16"), "utf-8", "--encoding utf-16"),
        (b"sku,name\n", "klingon", "there is no text encoding klingon"),
        (b"sku,name\n", "rot13", "there is no text encoding rot13"),
        (b"", "utf-8", "the header lacks name and sku or brand; it has: nothing"),
        (b"title,price\nA,1\n", "utf-8", "the header lacks name and sku or brand; it has: title, price"),
        (b"name,price\nA,1\n", "utf-8", "the header lacks sku or brand; it has: name, price"),
        (b"sku,name,\nA,B,C\n", "utf-8", "column 3 of the header has no name"),
        (b"sku,name,Label,category\n", "utf-8", "two columns of the header mean category"),
        (b'sku,name\nA,"Balm\nB,C\n', "utf-8", "line 2: unexpected end of data"),
        (b'sku,name\nA,"Ba"lm\n', "utf-8", "line 2: ',' expected after '\"'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(raw: bytes, encoding: str, said: str) -> None:
    assert said in problem(raw, encoding=encoding)


@pytest.mark.skipif(not COSMETICS.exists(), reason="the real catalogue is not part of the project")
def test_the_real_catalogue_is_read_whole() -> None:
    raw = COSMETICS.read_bytes()
    found = read_catalogue(raw, encoding="cp1252")
    assert (found.rows, len(found.skus), found.refused) == (1472, 1472, [])
    assert [note.line for note in found.shortened] == [17, 841, 1043]
    assert found.skus[0].name == "Crème de la Mer"
    assert "byte 0xe8 at offset 99, line 2" in problem(raw)
