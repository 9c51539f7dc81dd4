"""Outermost stage: a span and the RED metrics of every call, whatever becomes of it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from meshkit.rpc.metrics import SERVER_ACTIVE, SERVER_DURATION
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import ServerSpan, Tracing

if TYPE_CHECKING:
    from prometheus_client import Histogram


class MethodTelemetry:
    """Measures the calls of one method; the label children are looked up once for each status code."""

    __slots__ = ("_by_code", "_duration", "_method", "_tracing", "active_calls")

    def __init__(self, method: str, metrics: Metrics, tracing: Tracing) -> None:
        """`method` is `package.Service/Method`."""
        self._method = method
        self._tracing = tracing
        self.active_calls = 0
        metrics.gauge(SERVER_ACTIVE).labels(method).set_function(lambda: self.active_calls)
        self._duration = metrics.histogram(SERVER_DURATION)
        self._by_code: dict[str, Histogram] = {}

    def begin(self, traceparent: str) -> Observation:
        """A call has arrived with this `traceparent` (empty: none)."""
        self.active_calls += 1
        return Observation(self, self._tracing.start_server_span(traceparent, self._method))

    def end(self, code: str, duration_seconds: float) -> None:
        """A call has ended with this status code."""
        self.active_calls -= 1
        histogram = self._by_code.get(code)
        if histogram is None:
            histogram = self._by_code[code] = self._duration.labels(self._method, code)
        histogram.observe(duration_seconds)


class Observation:
    """One call under measurement."""

    __slots__ = ("_begun", "_method", "span")

    def __init__(self, method: MethodTelemetry, span: ServerSpan) -> None:
        """Starts the watch."""
        self._method = method
        self.span = span
        self._begun = perf_counter()

    def end(self, code: str) -> None:
        """The call has ended with this status code."""
        self._method.end(code, perf_counter() - self._begun)
        self.span.end(code)
