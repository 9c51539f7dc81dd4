"""What a child prints: all of it into a bounded file, its errors to the terminal too."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
from collections import deque
from collections.abc import Callable
from pathlib import Path

FILE_BYTES_MAX = 8 * 1024 * 1024
"""A child's log is two files of this size at most: `<name>.log` and `<name>.log.1`."""

LINE_BYTES_MAX = 64 * 1024
"""A longer line is cut into pieces of this size."""

LAST_LINES = 20


class ChildLog:
    """The log of one child over all its restarts."""

    def __init__(self, folder: Path, name: str, report: Callable[[str], None]) -> None:
        self._name = name
        self._report = report
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._file = logging.handlers.RotatingFileHandler(
            folder / f"{name}.log", maxBytes=FILE_BYTES_MAX, backupCount=1, encoding="utf-8", errors="replace"
        )

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Takes every line until the child closes its output."""
        rest = b""
        while chunk := await stream.read(LINE_BYTES_MAX):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._take(line.decode(errors="replace"))
        if rest:
            self._take(rest.decode(errors="replace"))

    def last_lines(self) -> str:
        """What the child printed last."""
        return "\n".join(self._last)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _take(self, line: str) -> None:
        self._last.append(line)
        self._file.emit(logging.LogRecord(self._name, logging.INFO, "", 0, line, (), None))
        if is_error(line):
            self._report(f"{self._name}: {line}")


def is_error(line: str) -> bool:
    """Whether a line is for the terminal: our services' JSON at level error or above, a server's FATAL or PANIC.

    PostgreSQL's ERROR lines are not: they are statements that were refused, and whoever sent one handles it.
    """
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return False
        return isinstance(entry, dict) and entry.get("level") in {"error", "critical"}
    if "the database system is " in line:
        return False  # starting up, shutting down: an answer to somebody who came too early or too late
    return any(word in line for word in (" FATAL: ", " PANIC: ", "Fatal Python error"))
