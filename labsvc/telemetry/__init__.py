"""What a service tells of itself, out of band: spans, metrics, log lines.

Spans: `tracing` sets OpenTelemetry up for one service and counts what is lost, `sampling` has
filters for what is not sampled, `http_client` makes spans of httpx2's requests. `receiver` is the
collector's end, `tail` its sampling, `forward` sends on to another collector; `spans` is a trace to
read, `waterfall` draws it.

Metrics and log lines: `calls` is what a gRPC server knows of a call that has ended. `metrics`
counts and times it, `logs` writes a line of JSON for it, `slo` says when too many fail.

OpenTelemetry reports trouble with an export through `logging`, from a thread of its own. Nothing of
that is printed unless the program sets up logging.
"""

import logging

from labsvc.telemetry.spans import Span, Trace
from labsvc.telemetry.tracing import Tracing

__all__ = ["Span", "Trace", "Tracing", "logs", "metrics", "slo"]

logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
