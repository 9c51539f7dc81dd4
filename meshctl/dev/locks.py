"""The two locks: what `pyproject.toml` asks for, resolved for every platform we run on, with hashes.

`python -m meshctl.dev.locks` proves that both are there, pin everything with hashes and name no package index;
`--renew` resolves them anew. An index belongs to the machine that installs, never to the project.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RUNTIME = "requirements.lock"
DEVELOPMENT = "requirements-dev.lock"

_RESOLVE = ("pip", "compile", "--universal", "--python-version=3.11", "--generate-hashes", "--no-emit-index-url")
_QUIET = ("--quiet", "--no-header", "--no-annotate", "--upgrade")


def main() -> int:
    """Runs one of the two actions; returns the exit code."""
    parser = argparse.ArgumentParser(prog="locks", description=__doc__.splitlines()[0])
    parser.add_argument("--renew", action="store_true", help="resolve both locks anew")
    if parser.parse_args().renew:
        renew()
    faults = [fault for name in (RUNTIME, DEVELOPMENT) for fault in faults_of(name)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def renew() -> None:
    """Writes both locks; the development lock contains the run-time lock, version for version."""
    uv = str(Path(sys.executable).with_name("uv"))
    resolve = [uv, *_RESOLVE, *_QUIET, "pyproject.toml"]
    subprocess.run([*resolve, "--output-file", RUNTIME], cwd=ROOT, check=True)
    development = ["--group", "dev", "--constraint", RUNTIME, "--output-file", DEVELOPMENT]
    subprocess.run([*resolve, *development], cwd=ROOT, check=True)


def faults_of(name: str) -> list[str]:
    """What is wrong with one lock, a line each."""
    text = (ROOT / name).read_text(encoding="utf-8")
    faults = [f"{name} names a host: {line}" for line in text.splitlines() if re.search(r"://|--.*index|--find", line)]
    pins = re.split(r"\n(?=[a-z0-9])", text)
    return faults + [
        f"{name} does not pin with hashes: {pin}" for pin in pins if "==" not in pin or "--hash" not in pin
    ]


if __name__ == "__main__":
    sys.exit(main())
