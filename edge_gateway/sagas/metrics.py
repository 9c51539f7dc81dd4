"""The metrics of checkouts across services: how their sagas end, and how many are on their way."""

from __future__ import annotations

from typing import Final

from meshkit.telemetry.metrics import CounterSpec, GaugeSpec

RUNS: Final = CounterSpec(
    "checkout_saga_runs_total",
    "Runs of checkout sagas, by the work that they began with and how they ended: done, undone (something refused),"
    " left (a service did not answer; another run goes on), lost (another process had taken over).",
    ("work", "outcome"),
)
UNFINISHED: Final = GaugeSpec(
    "checkout_unfinished",
    "Checkouts of all processes with work left, looked at once a second. One that stays needs a person.",
)

METRICS: Final = (RUNS, UNFINISHED)
