"""Filters for OpenTelemetry's gRPC instrumentation: what is not sampled costs next to nothing.

    server_interceptor(tracer_provider=..., filter_=arrives_sampled)
    client_interceptor(tracer_provider=..., filter_=in_sampled_span)

Without them, a call that is not recorded still has two spans made for it, which record nothing, and
its ids carried on. With them whoever begins a trace decides (a tracer whose sampler is
`TraceIdRatioBased`), and a call outside of a sampled trace is left alone. So it carries no trace id
either: join its log lines by the request id of `labsvc.rpc.context`.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

__all__ = ["arrives_sampled", "in_sampled_span"]

_KEY = "traceparent"
_SAMPLED = 0x01  # W3C Trace Context, 3.2.2.5


def arrives_sampled(details: Any) -> bool:
    """Return whether a call that arrives belongs to a sampled trace, by its `traceparent`."""
    for key, value in details.invocation_metadata or ():
        if key == _KEY:
            try:
                return bool(int(value[-2:], 16) & _SAMPLED)
            except ValueError:
                return False
    return False


def in_sampled_span(_: Any) -> bool:
    """Return whether the current span is sampled."""
    return trace.get_current_span().get_span_context().trace_flags.sampled
