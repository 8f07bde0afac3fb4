"""RED metrics of gRPC servers: the rate of calls, the errors among them, and their duration.

    registry = prometheus_client.CollectorRegistry()
    red = metrics.Red(registry)
    grpc.server(pool, interceptors=[metrics.server(red)])
    grpc.aio.server(interceptors=[metrics.aio_server(red)])

    prometheus_client.make_asgi_app(registry)      # serves /metrics for Prometheus to fetch

The method is RED of Tom Wilkie; the names of the metrics are those of go-grpc-prometheus. The
labels are method and code, which are few. An id of a user or a request would make new series
without an end (Prometheus, *Metric and label naming*): such an id belongs into a log line.

A duration carries the trace id of one call as its exemplar (OpenMetrics 1.0, *Exemplars*), where
that trace is sampled. Exemplars are served to those who accept `application/openmetrics-text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from labsvc.rpc import _server
from labsvc.telemetry.calls import Watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    import grpc.aio
    from prometheus_client import CollectorRegistry

    from labsvc.telemetry.calls import EndedCall

__all__ = ["BUCKETS", "Red", "aio_server", "server"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram in seconds. A percentile is known to within one of its buckets."""

_LABELS = ("method", "code")


class Red:
    """A counter of calls and a histogram of seconds, both by method and code.

    Args:
        registry: where they are registered; a `CollectorRegistry`.
        buckets: upper bounds in seconds. Put one at the limit that you promise.

    Raises:
        ValueError: the registry has them already, or the buckets are not in order.

    """

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float] = BUCKETS) -> None:
        self._calls = Counter(
            "grpc_server_handled", "Calls that have ended.", _LABELS, registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from the arrival of a call to its status.",
            _LABELS,
            registry=registry,
            buckets=buckets,
        )

    def ended(self, call: EndedCall) -> None:
        """Count a call that has ended."""
        exemplar = {"trace_id": call.ids.trace_id} if call.ids.sampled else None
        self._calls.labels(call.method, call.code).inc()
        self._seconds.labels(call.method, call.code).observe(call.seconds, exemplar)


def server(red: Red) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server. Put it before all that may answer a call."""
    return _server.server(Watching(red.ended))


def aio_server(red: Red) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(Watching(red.ended))
