from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from meshkit.telemetry.tracing import Tracing, child_of, current_traceparent, trace_id_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_child_keeps_trace_and_flags_and_has_an_id_of_its_own() -> None:
    child = child_of(PARENT)
    assert (child[:36], child[52:]) == (PARENT[:36], PARENT[52:])
    assert child[36:52] != PARENT[36:52]
    assert len(child) == 55


@pytest.mark.parametrize(
    "parent",
    ["", "x", PARENT.upper(), PARENT + "\n", "01" + PARENT[2:], f"00-{'0' * 32}-b7ad6b7169203331-01", PARENT[:-1]],
)
def test_malformed_parent_begins_a_new_unsampled_trace(parent: str) -> None:
    child = child_of(parent)
    assert trace_id_of(child) != trace_id_of(PARENT)
    assert child.endswith("-00")


def test_batch_span_is_current_inside_only() -> None:
    before = current_traceparent()
    with Tracing().batch_span("commit", [PARENT]) as traceparent:
        assert current_traceparent() == traceparent
    assert current_traceparent() == before


def test_recorded_server_span_follows_the_conventions() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing.to_exporter(exporter, service="shop")
    span = tracing.start_server_span(PARENT, "shop.v1.Shop/Buy")
    span.end("INTERNAL")
    span.end("OK")
    tracing.shutdown()
    (recorded,) = exporter.get_finished_spans()
    assert recorded.name == "shop.v1.Shop/Buy"
    assert recorded.kind is SpanKind.SERVER
    assert recorded.parent is not None
    assert f"{recorded.parent.span_id:016x}" == PARENT[36:52]
    assert dict(recorded.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "shop.v1.Shop/Buy",
        "rpc.response.status_code": "INTERNAL",
        "error.type": "INTERNAL",
    }
    assert recorded.status.is_ok is False


def test_recorded_batch_is_linked_to_its_callers() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing.to_exporter(exporter, service="shop")
    with pytest.raises(ValueError, match="broken"), tracing.batch_span("commit", [PARENT, "malformed"]):
        raise ValueError("broken")
    tracing.shutdown()
    (recorded,) = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in recorded.links] == [trace_id_of(PARENT)]
    assert dict(recorded.attributes or {}) == {"error.type": "ValueError"}
