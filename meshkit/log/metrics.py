"""The metrics of a log's writer."""

from __future__ import annotations

from typing import Final

from meshkit.telemetry.metrics import CounterSpec, GaugeSpec, HistogramSpec, Metrics

_COMMANDS_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

QUEUE: Final = GaugeSpec("log_queue_commands", "Commands that wait for a batch.")
BATCH: Final = HistogramSpec("log_batch_commands", "Commands decided in one batch.", buckets=_COMMANDS_BUCKETS)
COMMIT: Final = HistogramSpec(
    "log_commit_duration_seconds", "Time from the begin of a batch's transaction to the answer of its COMMIT."
)
EVENTS: Final = CounterSpec("log_events_total", "Events written.")
RETRIES: Final = CounterSpec("log_retries_total", "Batches done again after a fault that passes.")
REVISION: Final = GaugeSpec("log_head_revision", "Last revision that this process wrote.")
METRICS: Final = (QUEUE, BATCH, COMMIT, EVENTS, RETRIES, REVISION)


class LogMetrics:
    """What a writer counts."""

    def __init__(self, metrics: Metrics) -> None:
        """Makes them in the process's registry."""
        self.queue = metrics.gauge(QUEUE)
        self.batch = metrics.histogram(BATCH)
        self.commit = metrics.histogram(COMMIT)
        self.events = metrics.counter(EVENTS)
        self.retries = metrics.counter(RETRIES)
        self.revision = metrics.gauge(REVISION)
