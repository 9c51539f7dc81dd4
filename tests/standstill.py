"""A machine that stands still, as shared ones do: a test that fails meanwhile has proved nothing, and is run again.

Whatever waits, waits for real: a call may take two seconds, an attempt to connect too, a lease ends. Where the whole
machine stops for longer, a right program is late. So a test that fails is run again where this process was seen to be
kept from running during it, and only there. What was run again is told at the end, with what it failed with.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

STILL_SECONDS: Final = 1.0
"""The bounds of what is tested are longer; the turns that a busy machine makes a process wait for are shorter.

A test of a shorter bound says so: `@pytest.mark.bound(seconds=0.2)`.
"""

LOOK_SECONDS: Final = 0.05
TRIES_MAX: Final = 3
RUN_AGAIN: Final = "run again"


class Watch:
    """Sees for how long this process has not run although it wanted to."""

    def __init__(self) -> None:
        """Begins to look."""
        self._longest_seconds = 0.0
        self._since = time.monotonic()
        threading.Thread(target=self._look, name="standstill", daemon=True).start()

    def forget(self) -> None:
        """What was until now counts no more, a pause that is only seen in a moment included."""
        self._longest_seconds, self._since = 0.0, time.monotonic()

    def longest_seconds(self) -> float:
        """The longest time since then."""
        time.sleep(3 * LOOK_SECONDS)  # so that a pause that has just ended is seen
        return self._longest_seconds

    def _look(self) -> None:
        while True:
            begun, ran = time.monotonic(), time.process_time()
            time.sleep(LOOK_SECONDS)
            # A process that was busy itself did run: whoever blocks everything is found out, not excused.
            idle = time.monotonic() - max(begun, self._since) - (time.process_time() - ran)
            self._longest_seconds = max(self._longest_seconds, idle - LOOK_SECONDS)


watch = Watch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Runs one test, and again where it failed while the machine stood still."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    bound = item.get_closest_marker("bound")
    still_seconds = STILL_SECONDS if bound is None else bound.kwargs["seconds"]
    for tries_left in reversed(range(TRIES_MAX)):
        watch.forget()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report.longreprtext for report in reports if report.failed]
        if not failed or not tries_left or (seconds := watch.longest_seconds()) < still_seconds:
            break
        item.user_properties.append((RUN_AGAIN, f"The machine stood still for {seconds:.1f} s.\n{failed[0]}"))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what was run again, and what it had failed with."""
    reports = [each for found in terminalreporter.stats.values() for each in found if hasattr(each, "user_properties")]
    for test, properties in {report.nodeid: report.user_properties for report in reports}.items():
        for reason in [value for name, value in properties if name == RUN_AGAIN]:
            terminalreporter.section(f"{test} was run again")
            terminalreporter.write_line(str(reason))
