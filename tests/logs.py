"""The logs of the processes that tests have started: shown beside a test that fails."""

from __future__ import annotations

from pathlib import Path

SHOWN_CHARACTERS = 6_000
LOGS: dict[str, Path] = {}
"""By name; a log whose folder is gone is passed over."""


def tails() -> list[tuple[str, str]]:
    """The end of each log that is still there."""
    return [
        (name, log.read_text(encoding="utf-8", errors="replace")[-SHOWN_CHARACTERS:])
        for name, log in LOGS.items()
        if log.exists()
    ]
