"""The metrics of the feed: how far behind it is, and who follows it."""

from __future__ import annotations

from typing import Final

from meshkit.telemetry.metrics import CounterSpec, GaugeSpec

LAG_REVISIONS: Final = GaugeSpec(
    "feed_lag_revisions", "Revisions that this process knows to exist and has not handed to its streams yet."
)
LAG_SECONDS: Final = GaugeSpec(
    "feed_lag_seconds",
    "Time since this process last knew that it had the whole log. Up to the poll interval (0.25 s) when all is well.",
)
SUBSCRIBERS: Final = GaugeSpec(
    "feed_subscribers",
    "Open streams, by where their next message comes from: window (synced), log (catching_up), state (snapshotting).",
    ("state",),
)
WINDOW_EVENTS: Final = GaugeSpec("feed_window_events", "Events kept in memory for streams.")
WINDOW_BYTES: Final = GaugeSpec("feed_window_bytes", "Encoded messages kept in memory for streams.")
MESSAGES: Final = CounterSpec("feed_messages_total", "Messages handed to streams.")
HINTS: Final = CounterSpec(
    "feed_hints_total", "Hints between processes: sent, received, lost (could not be sent).", ("outcome",)
)

METRICS: Final = (LAG_REVISIONS, LAG_SECONDS, SUBSCRIBERS, WINDOW_EVENTS, WINDOW_BYTES, MESSAGES, HINTS)
