"""The rule for what must happen within a time hides no fault of what is tested."""

from __future__ import annotations

import time

import pytest

from tests.standstill import STILL_SECONDS, TRIES_MAX, unless_the_machine_stands_still


async def test_a_failure_of_a_machine_that_runs_is_one() -> None:
    tries = 0

    async def check() -> None:
        nonlocal tries
        tries += 1
        raise LookupError("wrong")

    with pytest.raises(LookupError):
        await unless_the_machine_stands_still(check)
    assert tries == 1


async def test_a_failure_of_a_machine_that_stood_still_is_tried_again_but_not_for_ever() -> None:
    tries = 0

    async def check() -> None:
        nonlocal tries
        tries += 1
        time.sleep(2 * STILL_SECONDS)  # noqa: ASYNC251 — stands still
        assert tries > passes_after

    passes_after = 2
    await unless_the_machine_stands_still(check)
    assert tries == 3
    tries, passes_after = 0, 100
    with pytest.raises(AssertionError):
        await unless_the_machine_stands_still(check)
    assert tries == TRIES_MAX
