"""What is run again, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

CONFTEST = "from tests.standstill import pytest_runtest_protocol, pytest_terminal_summary\n"

TESTS = """
import os, subprocess, time
import pytest

tries = {}

def fails_at_first(name):
    tries[name] = tries.get(name, 0) + 1
    assert tries[name] > 1, "too late"

def stand_still(seconds=1.5):
    subprocess.Popen(["sh", "-c", f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"]).wait()

@pytest.fixture
def fresh():
    return []

def test_stood_still(fresh):
    fresh.append(1)
    stand_still()
    assert fresh == [1]
    fails_at_first("still")

def test_only_slow():
    time.sleep(1.5)
    fails_at_first("slow")

def test_only_busy():
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        pass
    fails_at_first("busy")

def test_after_one_that_stood_still():
    fails_at_first("after")

def test_stood_still_for_a_moment():
    stand_still(0.5)
    fails_at_first("moment")

@pytest.mark.bound(seconds=0.3)
def test_stood_still_for_longer_than_its_bound():
    stand_still(0.5)
    fails_at_first("bound")

def test_stands_still_and_is_wrong():
    stand_still()
    raise LookupError("wrong")
"""


def test_only_a_failure_of_a_machine_that_stood_still_is_tried_again_and_told(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = bound(seconds)\n")
    (tmp_path / "test_inner.py").write_text(TESTS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    results = dict(line.split()[:2] for line in run.stdout.splitlines() if line.startswith("test_inner.py::"))
    assert {name.partition("::")[2]: result for name, result in results.items()} == {
        "test_stood_still": "PASSED",
        "test_only_slow": "FAILED",
        "test_only_busy": "FAILED",
        "test_after_one_that_stood_still": "FAILED",
        "test_stood_still_for_a_moment": "FAILED",
        "test_stood_still_for_longer_than_its_bound": "PASSED",
        "test_stands_still_and_is_wrong": "FAILED",
    }
    assert run.stdout.count("test_stood_still was run again") == 1
    assert run.stdout.count("The machine stood still for") == 4  # twice for the one that is wrong each time
    assert "too late" in run.stdout.partition("was run again")[2]
