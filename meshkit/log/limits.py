"""The bounds of a log's writer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of queue and batch.

    `queue_commands_max` commands may wait; more are refused. A batch ends at `batch_commands_max` commands,
    `batch_weight_max` rows or `decide_seconds_max` of deciding, so that the loop stays responsive.
    """

    queue_commands_max: int = 4_000
    batch_commands_max: int = 1_000
    batch_weight_max: int = 10_000
    decide_seconds_max: float = 0.01
