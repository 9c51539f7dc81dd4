from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_gateway.rest.descriptions import FILE, read_descriptions


def test_comments_are_read_with_fields_as_json_spells_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Take `next_page_token`, never `INVALID_REQUEST` or `inventory.read`; `filter.omit_levels` too."
    tmp_path.joinpath(FILE).write_text(json.dumps({"a.v1.X": text}), encoding="utf-8")
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)
    spelled = "Take `nextPageToken`, never `INVALID_REQUEST` or `inventory.read`; `filter.omitLevels` too."
    assert read_descriptions() == {"a.v1.X": spelled}


def test_without_the_file_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)
    assert read_descriptions() == {}
