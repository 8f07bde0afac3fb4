"""Spans as a test wants them: of a tree that it names, as messages of OTLP or as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from labsvc.telemetry.spans import Span, Trace

if TYPE_CHECKING:
    from labsvc.telemetry.tracing import Tracing

MS = 1_000_000


def span(
    span_id: str,
    parent_id: str = "",
    *,
    trace_id: str = "t",
    at: tuple[float, float] = (0, 1),
    **more: Any,
) -> Span:
    """Return a span as it is read; its times are in milliseconds."""
    known: dict[str, Any] = {"service": "shop", "name": span_id, "kind": "internal", "error": False}
    times: dict[str, Any] = {"start_ns": int(at[0] * MS), "end_ns": int(at[1] * MS)}
    return Span(trace_id=trace_id, span_id=span_id, parent_id=parent_id, **times, **(known | more))


def trace(*spans: Span) -> Trace:
    """Return a trace of these spans."""
    return Trace.of("t", spans)


def message(number: int, trace: int = 1, **more: Any) -> Message:
    """Return a span as it is sent."""
    ids = {"trace_id": trace.to_bytes(16, "big"), "span_id": number.to_bytes(8, "big")}
    return Message(name=f"work {number}", **(ids | more))


def request(*messages: Message, service: str = "shop") -> ExportTraceServiceRequest:
    """Return the request that exports these spans of a service."""
    name = KeyValue(key="service.name", value=AnyValue(string_value=service))
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=[name]), scope_spans=[ScopeSpans(spans=messages)]
            )
        ]
    )


def work(tracing: Tracing, spans: int = 1) -> None:
    """Start and end so many spans, each a trace."""
    for _ in range(spans):
        tracing.tracer.start_span("work").end()
