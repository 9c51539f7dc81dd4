"""Which numbers a process shows, declared once and documented where they are declared.

Every subsystem has one module that declares its metrics as constants and lists them in `METRICS`; the reference page is
made from those lists. Names and labels are an interface: dashboards and alerts read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
"""Bounds of durations: those that OpenTelemetry advises, finer below 5 ms because most of our calls end there."""


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """A number that only rises; its name ends in `_total`."""

    type_name: ClassVar[str] = "counter"
    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaugeSpec:
    """A number that rises and falls."""

    type_name: ClassVar[str] = "gauge"
    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramSpec:
    """A distribution; `buckets` are upper bounds in the unit that ends the name."""

    type_name: ClassVar[str] = "histogram"
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS_BUCKETS


MetricSpec = CounterSpec | GaugeSpec | HistogramSpec


class Metrics:
    """The metrics of one process. Asking twice for the same declaration gives the same metric.

    Keep the children of labels (`metric.labels(…)`) where the values are known beforehand: looking one up costs as much
    as counting.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, spec: CounterSpec) -> Counter:
        """The counter that is declared by `spec`."""
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Counter(spec.name, spec.meaning, spec.labels, registry=self._registry)
        assert isinstance(made, Counter), f"{spec.name} is declared twice with different types"
        return made

    def gauge(self, spec: GaugeSpec) -> Gauge:
        """The gauge that is declared by `spec`."""
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Gauge(spec.name, spec.meaning, spec.labels, registry=self._registry)
        assert isinstance(made, Gauge), f"{spec.name} is declared twice with different types"
        return made

    def histogram(self, spec: HistogramSpec) -> Histogram:
        """The histogram that is declared by `spec`."""
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Histogram(
                spec.name, spec.meaning, spec.labels, buckets=spec.buckets, registry=self._registry
            )
        assert isinstance(made, Histogram), f"{spec.name} is declared twice with different types"
        return made

    @property
    def registry(self) -> CollectorRegistry:
        """For collectors of others (process, interpreter) and for reading in tests."""
        return self._registry

    def expose(self) -> bytes:
        """All of them in the Prometheus text format."""
        return generate_latest(self._registry)
