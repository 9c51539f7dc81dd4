from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshctl.child import ChildSpec
from meshctl.supervisor import ChildFailed, Supervisor
from tests.meshctl.processes import alive, gone


def child(folder: Path, name: str, body: str, *, ready_file: str = "", **options: float) -> ChildSpec:
    """A Python program that says it is ready by making a file named after itself and its process."""
    ready = folder / (ready_file or f"{name}.ready")

    async def is_ready() -> bool:
        return ready.exists()

    program = f"import os, pathlib, signal, sys, time\nready = pathlib.Path({str(ready)!r})\n{body}"
    return ChildSpec(
        name=name,
        command=[sys.executable, "-I", "-S", "-c", program],
        is_ready=is_ready,
        prepare=lambda: ready.unlink(missing_ok=True),
        stop=((signal.SIGTERM, options.get("grace_seconds", 0.3)),),
        ready_seconds_max=options.get("ready_seconds_max", 10.0),
    )


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        # Another process cannot set our event.
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.02)


READY_AND_SLEEP = "ready.touch(); time.sleep(60)"


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, lambda _line: None) as supervisor:
        await supervisor.start(child(tmp_path, "a", READY_AND_SLEEP))
        first = supervisor.pids()["a"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pids().get("a", first) != first)
        assert alive(supervisor.pids()["a"])


async def test_the_wait_before_a_restart_doubles(tmp_path: Path) -> None:
    said: list[str] = []
    async with Supervisor(tmp_path, said.append) as supervisor:
        await supervisor.start(child(tmp_path, "a", "ready.touch(); time.sleep(0.1); sys.exit(3)"))
        await until(lambda: len(said) >= 3)
    assert said[:3] == [f"a ended with exit code 3; starting it again in {wait} s" for wait in ("0.1", "0.2", "0.4")]


async def test_a_child_that_never_starts_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, lambda _line: None) as supervisor:
        with pytest.raises(ChildFailed, match=r"a ended with exit code 7, 3 times in a row:\nno such luck"):
            await supervisor.start(child(tmp_path, "a", "print('no such luck'); sys.exit(7)"))


async def test_a_child_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    async with Supervisor(tmp_path, said.append) as supervisor:
        with pytest.raises(ChildFailed):
            await supervisor.start(child(tmp_path, "a", "time.sleep(60)", ready_seconds_max=0.1))
    assert said[0] == "a did not answer within 0.1 s; killing it"


async def test_stages_stop_in_reverse(tmp_path: Path) -> None:
    log = tmp_path / "order"
    body = (
        "def end(*_):\n    time.sleep(0.05); open({!r}, 'a').write({!r}); os._exit(0)\n"
        "signal.signal(15, end); ready.touch(); time.sleep(60)"
    )
    async with Supervisor(tmp_path, lambda _line: None) as supervisor:
        for name in "abc":
            await supervisor.start(child(tmp_path, name, body.format(str(log), name), grace_seconds=30.0))
    assert log.read_text() == "cba"


async def test_a_child_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    async with Supervisor(tmp_path, said.append) as supervisor:
        await supervisor.start(child(tmp_path, "a", f"signal.signal(15, signal.SIG_IGN); {READY_AND_SLEEP}"))
        pid = supervisor.pids()["a"]
        started = time.monotonic()
    assert gone(pid, seconds=10)
    assert time.monotonic() - started < 10
    assert said == ["a did not stop when asked; killing it"]


async def test_a_stop_while_a_child_is_starting_leaves_nothing(tmp_path: Path) -> None:
    spec = child(tmp_path, "a", "pathlib.Path(str(ready) + '.pid').write_text(str(os.getpid())); time.sleep(60)")
    async with Supervisor(tmp_path, lambda _line: None) as supervisor:
        starting = asyncio.ensure_future(supervisor.start(spec))
        pid_file = tmp_path / "a.ready.pid"
        await until(lambda: pid_file.exists() and pid_file.read_text() != "")
        starting.cancel()
    assert gone(int(pid_file.read_text()), seconds=10)


async def test_a_stop_that_is_cancelled_goes_on_to_its_end(tmp_path: Path) -> None:
    body = f"signal.signal(15, lambda *_: (time.sleep(0.1), os._exit(0))); {READY_AND_SLEEP}"
    pids: dict[str, int] = {}

    async def hold() -> None:
        async with Supervisor(tmp_path, lambda _line: None) as supervisor:
            await supervisor.start(child(tmp_path, "a", body), child(tmp_path, "b", body))
            pids.update(supervisor.pids())

    holding = asyncio.ensure_future(hold())
    await until(lambda: len(pids) == 2)
    for _ in range(3):
        holding.cancel()
        await asyncio.sleep(0.01)
    await asyncio.wait({holding})
    assert [pid for pid in pids.values() if alive(pid)] == []


async def test_everything_printed_is_in_the_log_and_errors_reach_the_terminal(tmp_path: Path) -> None:
    said: list[str] = []
    body = """print('{"level": "info"}'); print('{"level": "error"}'); print(f"{7:02} % done", flush=True); """
    async with Supervisor(tmp_path, said.append) as supervisor:
        await supervisor.start(child(tmp_path, "a", body + READY_AND_SLEEP))
    assert (tmp_path / "a.log").read_text() == '{"level": "info"}\n{"level": "error"}\n07 % done\n'
    assert said == ['a: {"level": "error"}']


async def test_a_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, lambda _line: None) as supervisor:
        await supervisor.start(child(tmp_path, "a", READY_AND_SLEEP))
        pid = supervisor.pids()["a"]
        assert os.getsid(pid) == pid
