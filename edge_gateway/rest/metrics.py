"""The metrics of REST requests: rate, errors and duration by route, and open event streams."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from meshkit.telemetry.metrics import GaugeSpec, HistogramSpec, Metrics
from meshkit.telemetry.tracing import ServerSpan, Tracing

if TYPE_CHECKING:
    from prometheus_client import Histogram

REQUEST_DURATION: Final = HistogramSpec(
    "http_server_request_duration_seconds",
    "Time from a request's arrival to the end of its answer, by route template, method and HTTP status. Event streams "
    "count when they end. What no route matches is `_OTHER`.",
    ("http_route", "http_request_method", "http_response_status_code"),
)
REQUEST_ACTIVE: Final = GaugeSpec(
    "http_server_active_requests",
    "Requests being answered now, event streams included.",
    ("http_route", "http_request_method"),
)
METRICS: Final = (REQUEST_DURATION, REQUEST_ACTIVE)

OTHER: Final = "_OTHER"
"""Label of routes and methods that are not ours: their names are the callers', without bound."""


class RouteTelemetry:
    """Measures the requests of one route; the label children are looked up once for each status."""

    __slots__ = ("_attributes", "_by_status", "_duration", "_method", "_route", "_tracing", "active_requests", "name")

    def __init__(self, route: str, method: str, metrics: Metrics, tracing: Tracing) -> None:
        """`route` is the template, never a path."""
        self.name = f"{method} {route}"
        self._route = route
        self._method = method
        self._tracing = tracing
        self._attributes = {"http.request.method": method, "http.route": route}
        self.active_requests = 0
        metrics.gauge(REQUEST_ACTIVE).labels(route, method).set_function(lambda: self.active_requests)
        self._duration = metrics.histogram(REQUEST_DURATION)
        self._by_status: dict[int, Histogram] = {}

    def begin(self, traceparent: str) -> Observation:
        """A request has arrived with this `traceparent` (empty: none)."""
        self.active_requests += 1
        return Observation(self, self._tracing.start_server_span(traceparent, self.name, self._attributes))

    def end(self, status: int, duration_seconds: float) -> None:
        """A request has been answered with this status."""
        self.active_requests -= 1
        histogram = self._by_status.get(status)
        if histogram is None:
            histogram = self._by_status[status] = self._duration.labels(self._route, self._method, str(status))
        histogram.observe(duration_seconds)


class Observation:
    """One request under measurement."""

    __slots__ = ("_begun", "_route", "span")

    def __init__(self, route: RouteTelemetry, span: ServerSpan) -> None:
        """Starts the watch."""
        self._route = route
        self.span = span
        self._begun = perf_counter()

    def end(self, status: int, code: str) -> None:
        """The request has been answered with this HTTP status; `code` is the gRPC status name, for the span."""
        self._route.end(status, perf_counter() - self._begun)
        self.span.end(code, status)
