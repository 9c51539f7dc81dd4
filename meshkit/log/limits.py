"""The bounds of a log's writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LAPSING_MAX: Final = 500
"""Lapsed holds that one batch expires before its commands."""

LAPSING_LINES_MAX: Final = 1_000
"""Their lines, but for the last hold's. Where more has lapsed at once, after an outage say, a batch expires these and
its commands wait for the next: all of it in one transaction would take longer than one may, and so never be done. 1,000
lines take 0.2 to 0.8 s here; the bound of a transaction is 2 s."""


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
