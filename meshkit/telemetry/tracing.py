"""How one request is followed through processes: W3C trace context, and spans where somebody collects them.

Without an OTLP endpoint a span is only its identifiers (about 1 µs): context still travels through calls, batches,
events and logs. With one the OpenTelemetry SDK records and exports it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch

_current: Final[ContextVar[str]] = ContextVar("traceparent", default="")

SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Status codes that make a server span an error. Source: OpenTelemetry semantic conventions for gRPC."""


def current_traceparent() -> str:
    """The W3C `traceparent` of the span that this task works in; empty outside of any."""
    return _current.get()


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits that all spans of one trace share; empty for an empty `traceparent`."""
    return traceparent[3:35]


def child_of(parent: str) -> str:
    """A new span's `traceparent` below `parent`; the root of a new, unsampled trace where `parent` is not valid."""
    span_id = random.getrandbits(64) or 1
    if parent and _TRACEPARENT(parent):
        return f"{parent[:36]}{span_id:016x}{parent[52:]}"
    trace_id = random.getrandbits(128) or 1
    return f"00-{trace_id:032x}-{span_id:016x}-00"


class ServerSpan:
    """The span of one call that we answer; `end` may be called twice, the first counts."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, traceparent: str, span: trace.Span | None) -> None:
        """`span` is None where nobody collects."""
        self.traceparent = traceparent
        self._span = span

    def end(self, status_code: str, http_status: int | None = None) -> None:
        """Ends it with the name of a gRPC status code, and with an HTTP status where it was called by HTTP."""
        span = self._span
        if span is None:
            return
        self._span = None
        if http_status is None:
            span.set_attribute("rpc.response.status_code", status_code)
        else:
            span.set_attribute("http.response.status_code", http_status)
        if status_code in SERVER_FAULTS:
            span.set_attribute("error.type", status_code)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class Tracing:
    """Makes spans; one per process."""

    def __init__(self, tracer: Tracer | None = None, provider: TracerProvider | None = None) -> None:
        """Without a tracer only identifiers are made."""
        self._tracer = tracer
        self._provider = provider

    @classmethod
    def to_endpoint(cls, endpoint: str, *, service: str) -> Tracing:
        """Exports to an OTLP/gRPC endpoint (`http://127.0.0.1:4317`); an empty one means that nobody collects."""
        if not endpoint:
            return cls()
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 — a tenth of a start
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http:"))
        return cls.to_exporter(exporter, service=service)

    @classmethod
    def to_exporter(cls, exporter: SpanExporter, *, service: str) -> Tracing:
        """Exports in batches from a thread of the SDK's own; a full queue drops spans and never waits."""
        resource = Resource.create({"service.name": service, "service.namespace": "beautymesh"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider.get_tracer("meshkit"), provider)

    def start_server_span(self, parent: str, method: str, attributes: Mapping[str, str] | None = None) -> ServerSpan:
        """Begins the span of a call to `method` (`package.Service/Method`) and makes it this task's current one.

        `parent` is the caller's `traceparent`, empty or malformed where there is none. `attributes` are those of a
        protocol other than gRPC.
        """
        if self._tracer is None:
            span = ServerSpan(child_of(parent), None)
        else:
            recorded = self._tracer.start_span(
                method,
                context=_context_of(parent),
                kind=SpanKind.SERVER,
                attributes=attributes or {"rpc.system.name": "grpc", "rpc.method": method},
            )
            span = ServerSpan(_traceparent_of(recorded.get_span_context()), recorded)
        _current.set(span.traceparent)
        return span

    @contextmanager
    def batch_span(self, name: str, links: Sequence[str]) -> Iterator[str]:
        """The span of work done for many callers at once, linked to each caller's `traceparent`; gives its own."""
        if self._tracer is None:
            traceparent, recorded = child_of(""), None
        else:
            contexts = (_span_context_of(link) for link in links)
            recorded = self._tracer.start_span(name, links=[Link(each) for each in contexts if each is not None])
            traceparent = _traceparent_of(recorded.get_span_context())
        before = _current.set(traceparent)
        try:
            yield traceparent
        except BaseException as error:
            if recorded is not None:
                recorded.set_attribute("error.type", type(error).__name__)
                recorded.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            _current.reset(before)
            if recorded is not None:
                recorded.end()

    def flush(self) -> bool:
        """Exports what has ended so far; False if the exporter was too slow. Blocks: call it from a thread."""
        return self._provider is None or self._provider.force_flush()

    def shutdown(self) -> None:
        """Exports what is left, within the exporter's own timeout. Blocks: call it from a thread."""
        if self._provider is not None:
            self._provider.shutdown()


def _traceparent_of(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _span_context_of(traceparent: str) -> SpanContext | None:
    if not _TRACEPARENT(traceparent):
        return None
    trace_id, span_id, flags = int(traceparent[3:35], 16), int(traceparent[36:52], 16), int(traceparent[53:], 16)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _context_of(traceparent: str) -> Context:
    span_context = _span_context_of(traceparent)
    # An empty context, not the ambient one: the parent is what the caller says, never what else runs here.
    empty = Context()
    return empty if span_context is None else trace.set_span_in_context(NonRecordingSpan(span_context), empty)
