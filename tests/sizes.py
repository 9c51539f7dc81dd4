"""How big each heavy test is: quick in `make test`, full in `make test-full` (`TEST_SIZE=full`)."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """One row a heavy test; the seed is printed so that a failure can be replayed (`TEST_SEED=…`)."""

    stock_machine_examples: int
    stock_machine_steps: int
    commit_kills: int
    racing_commands: int
    calls_at_once: int
    kill_under_load_rounds: int
    race_clients: int
    schema_bounds_step: int
    schema_examples: int


QUICK = Sizes(
    stock_machine_examples=12,
    stock_machine_steps=30,
    commit_kills=12,
    racing_commands=600,
    calls_at_once=5_000,
    kill_under_load_rounds=2,
    race_clients=500,
    schema_bounds_step=3,
    schema_examples=4,
)
FULL = Sizes(
    stock_machine_examples=150,
    stock_machine_steps=60,
    commit_kills=200,
    racing_commands=20_000,
    calls_at_once=5_000,
    kill_under_load_rounds=10,
    race_clients=500,
    schema_bounds_step=1,
    schema_examples=50,
)

SIZES = FULL if os.environ.get("TEST_SIZE", "quick") == "full" else QUICK
SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))


def seeded(name: str) -> random.Random:
    """The randomness of one test; says how to have the same again."""
    print(f"{name}: TEST_SEED={SEED}")  # noqa: T201 — pytest shows it with a failure
    return random.Random(f"{SEED}:{name}")
