from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from docs import build

LINK = re.compile(r'\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)|(?:src|srcset)="(?P<image>[^"]+)"')


def documents() -> list[Path]:
    """Every document of the project; folders with a dot are not the project's."""
    tops = [path for path in build.ROOT.iterdir() if not path.name.startswith(".")]
    found = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
    return sorted(path for path in found if path.suffix == ".md")


def links() -> Iterator[tuple[Path, str, str]]:
    """Document, text and target of every link that stays within the project; text within code is none."""
    for document in documents():
        text = re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        for found in LINK.finditer(text):
            target = found["target"] or found["image"]
            if "://" not in target:
                yield document, (found["text"] or "").strip("`"), target


def anchors(document: Path) -> set[str]:
    """The fragments that the headings of a document have."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_made_from_the_code_are_fresh() -> None:
    assert build.stale_pages(build.REFERENCE) == []


def test_page_that_is_changed_missing_or_left_over_is_stale(tmp_path: Path) -> None:
    folder = shutil.copytree(build.REFERENCE, tmp_path / "reference")
    (folder / "errors.md").write_text("# Errors\n", encoding="utf-8")
    (folder / "rpcs.md").unlink()
    (folder / "former.md").write_text("# Former\n", encoding="utf-8")
    assert build.stale_pages(folder) == ["errors.md", "former.md", "rpcs.md"]


def test_row_of_an_error_says_what_a_caller_sees_and_whether_to_repeat() -> None:
    row = next(row for row in build.pages()["errors.md"].splitlines() if row.startswith("| `TOO_MANY_REQUESTS`"))
    assert row.split(" | ")[1:] == [
        "too_many",
        "`RESOURCE_EXHAUSTED`",
        "429",
        "after 0.25 s",
        "A bounded queue is full. |",
    ]


def test_row_of_a_reason_that_several_services_have_says_what_each_means_by_it() -> None:
    row = next(row for row in build.pages()["errors.md"].splitlines() if row.startswith("| `ID_TAKEN`"))
    assert [each.partition(":")[0] for each in row.split(" | ")[5].split("<br>")] == ["inventory", "promo", "profile"]


def test_reasons_that_only_http_knows_are_listed_with_their_status() -> None:
    row = next(row for row in build.pages()["errors.md"].splitlines() if row.startswith("| `BODY_TOO_LARGE`"))
    assert row == "| `BODY_TOO_LARGE` | 413 | The body is too large. |"


def test_every_service_has_its_rpcs_and_what_is_its_own() -> None:
    pages = build.pages()
    for word in ("inventory.v1.InventoryService", "promo.v1.PromoService", "profile.v1.ProfileService"):
        assert f"## `beautymesh.{word}`" in pages["rpcs.md"]
    assert "## `beautymesh.edge.v1.CheckoutService`" in pages["rpcs.md"]
    assert "Read by: inventory, promo, profile, edge." in pages["configuration.md"]
    assert "| `BEAUTYMESH_HTTP_LISTEN` |" in pages["configuration.md"]
    assert "| `http_server_request_duration_seconds` |" in pages["metrics.md"]
    assert "| `availability_stream_broken` |" in pages["metrics.md"]


def test_row_of_an_rpc_says_what_the_contract_says() -> None:
    row = next(row for row in build.pages()["rpcs.md"].splitlines() if row.startswith("| [ReserveStock]"))
    assert row.split(" | ")[1:] == [
        "`inventory.reserve`",
        "by `request_id`",
        "`POST /v1/reservations`",
        "256 KiB",
        "25 ms",
        "– |",
    ]


def test_every_reason_is_listed_once() -> None:
    reasons = re.findall(r"^\| `([A-Z_]+)`", build.pages()["errors.md"], flags=re.MULTILINE)
    assert sorted(reasons) == sorted(set(reasons))


def test_every_link_leads_somewhere() -> None:
    dead = []
    for document, _, target in links():
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (fragment and fragment not in anchors(file)):
            dead.append(f"{document.relative_to(build.ROOT)}: {target}")
    assert dead == []


def test_every_test_that_a_document_names_exists() -> None:
    missing = []
    for document, text, target in links():
        file = (document.parent / target).resolve()
        if text.startswith("test_") and not re.search(rf"def {text}\(", file.read_text(encoding="utf-8")):
            missing.append(f"{document.relative_to(build.ROOT)}: {text} in {target}")
    assert missing == []


def test_every_decision_is_listed_and_fits_on_a_page() -> None:
    folder = build.ROOT / "docs" / "adr"
    listed = [target for document, _, target in links() if document == folder / "README.md"]
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("0*.md")}
    assert {name: length for name, length in lengths.items() if length > 40} == {}
