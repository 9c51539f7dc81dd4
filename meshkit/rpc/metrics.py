"""The metrics of calls: rate, errors and duration of what this process serves and of what it asks of others."""

from __future__ import annotations

from typing import Final

from meshkit.telemetry.metrics import GaugeSpec, HistogramSpec

SERVER_DURATION: Final = HistogramSpec(
    "rpc_server_call_duration_seconds",
    "Time from a call's arrival to its status, by method and gRPC status code. Streams count when they end. "
    "A method that nobody serves is `_OTHER`.",
    ("rpc_method", "rpc_response_status_code"),
)
SERVER_ACTIVE: Final = GaugeSpec(
    "rpc_server_active_calls", "Calls being served now, streams included.", ("rpc_method",)
)
CLIENT_DURATION: Final = HistogramSpec(
    "rpc_client_call_duration_seconds",
    "Time from sending a call to its status, retries included, by method and gRPC status code.",
    ("rpc_method", "rpc_response_status_code"),
)

METRICS: Final = (SERVER_DURATION, SERVER_ACTIVE, CLIENT_DURATION)
