"""What each process costs, read from /proc; elsewhere nothing is known and nothing is said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Meter:
    """Processor time of processes, each with its children, between two looks."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """`pids` by the name that is shown."""
        self._pids = pids
        self._since = monotonic()
        self._before = self._seconds()

    def percent(self) -> dict[str, int]:
        """How much of one core each has used since the last look; begins anew."""
        before, since = self._before, self._since
        self._before, self._since = self._seconds(), monotonic()
        elapsed = self._since - since
        return {name: round(100 * (used - before.get(name, 0.0)) / elapsed) for name, used in self._before.items()}

    def _seconds(self) -> dict[str, float]:
        ticks: dict[int, int] = {}
        parents: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # Behind the command in parentheses, which may itself hold any character.
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
            parents[int(folder.name)] = int(fields[1])
        found = {}
        for name, pid in self._pids.items():
            family = [each for each in ticks if each == pid or parents[each] == pid]
            if family:
                found[name] = sum(ticks[each] for each in family) / _TICKS_PER_SECOND
        return found


def machine() -> dict[str, str | int]:
    """The facts about this machine without which the numbers say nothing."""
    uname = os.uname()
    facts: dict[str, str | int] = {"system": f"{uname.sysname} {uname.release} {uname.machine}"}
    facts["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    facts["memory_mib"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        facts["processor"] = models[0] if models else "unknown"
    return facts
