"""The metrics of reads without a hop: how many there are, and how late they are."""

from __future__ import annotations

from typing import Final

from meshkit.telemetry.metrics import CounterSpec, GaugeSpec, HistogramSpec

READS: Final = CounterSpec(
    "availability_cache_reads_total",
    "Availabilities asked of the cache: hit (answered from memory), miss (fetched from inventory, or waited for).",
    ("outcome",),
)
ENTRIES: Final = GaugeSpec("availability_cache_entries", "Availabilities kept in memory.")
STREAM_AGE: Final = GaugeSpec(
    "availability_stream_age_seconds",
    "Time since inventory's last message. Up to its heartbeat (15 s) when all is well; what is served is as old.",
)
STREAM_BROKEN: Final = GaugeSpec(
    "availability_stream_broken", "1 while no stream keeps the cache fresh, 0 while one does."
)
FETCH_DURATION: Final = HistogramSpec(
    "availability_fetch_duration_seconds",
    "Time that inventory took to answer what was not in memory, by gRPC status.",
    ("rpc_response_status_code",),
)

METRICS: Final = (READS, ENTRIES, STREAM_AGE, STREAM_BROKEN, FETCH_DURATION)
