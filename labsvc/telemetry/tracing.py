"""OpenTelemetry for one service, exported out of band (claim C21, notebook 60).

    tracing = Tracing("orders", collector.endpoint)
    server_interceptor(tracer_provider=tracing.provider)   # of opentelemetry.instrumentation.grpc
    tracing.close()

A call ends its span and puts it into a queue; a thread of the SDK sends what is in the queue. So a
slow collector costs no call any time, and one that hangs or is gone costs spans: the queue is
bounded, and the SDK logs one line in 20 seconds when it is full. `lost` counts them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Tracer

__all__ = ["Tracing"]

QUEUE = 2048  # the SDK's own default, as is the next
BATCH = 512
EVERY_SECONDS = 0.1  # the SDK's default is 5; a cell does not want to wait so long
TIMEOUT_SECONDS = 2.0  # for one export, with its retries; the SDK's default is 10


class Tracing:
    """A tracer provider for one service, with counts of what became of its spans.

    Args:
        service: the resource attribute `service.name`.
        endpoint: of a collector that takes OTLP over gRPC, such as "http://127.0.0.1:4317".
        sampler: decides at the start of a trace whether it is recorded; who is called follows the
            caller's decision.
        queue: spans that may wait to be sent; when it is full, the oldest is lost.
        batch: spans in one request.

    """

    def __init__(
        self,
        service: str,
        endpoint: str,
        *,
        sampler: Sampler = ALWAYS_ON,
        queue: int = QUEUE,
        batch: int = BATCH,
    ) -> None:
        self.service = service
        self._exporter = _Exporter(
            OTLPSpanExporter(
                endpoint=endpoint,
                insecure=endpoint.startswith("http://"),
                timeout=TIMEOUT_SECONDS,
                channel_options=(("grpc.enable_http_proxy", 0),),  # type: ignore[arg-type]  # ints are taken
            )
        )
        self._processor = _Processor(
            self._exporter,
            max_queue_size=queue,
            schedule_delay_millis=EVERY_SECONDS * 1000,
            max_export_batch_size=min(batch, queue),
        )
        self.provider = TracerProvider(
            resource=Resource({"service.name": service}),
            sampler=ParentBased(sampler),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(self._processor)
        self.tracer: Tracer = self.provider.get_tracer("labsvc")

    @property
    def ended(self) -> int:
        """How many sampled spans have ended."""
        return self._processor.ended

    @property
    def sent(self) -> int:
        """How many spans the collector has confirmed."""
        return self._exporter.sent

    @property
    def lost(self) -> int:
        """How many spans have ended and are not confirmed; after `flush` or `close` for good."""
        return self.ended - self.sent

    def flush(self) -> None:
        """Send what waits; come back when each span is confirmed or lost."""
        self._processor.force_flush()

    def close(self) -> None:
        """Send what waits for `TIMEOUT_SECONDS` at most, and end the thread that sends.

        A second call does nothing. Spans that end later are lost.
        """
        too_long = threading.Timer(TIMEOUT_SECONDS, self._exporter.shutdown)
        too_long.daemon = True
        too_long.start()
        self.provider.shutdown()
        too_long.cancel()


class _Processor(BatchSpanProcessor):
    """The SDK's, and counts the spans that it is given."""

    def __init__(self, exporter: SpanExporter, **settings: float) -> None:
        super().__init__(exporter, **settings)  # type: ignore[arg-type]
        self._counting = threading.Lock()
        self.ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that is sampled, and put it into the queue."""
        if span.context is not None and span.context.trace_flags.sampled:
            with self._counting:
                self.ended += 1
        super().on_end(span)


class _Exporter(SpanExporter):
    """Another exporter, and the number of spans that were confirmed."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.sent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)  # one thread at a time: the processor holds a lock
        return result

    def shutdown(self) -> None:
        """End an export that is under way, and refuse the next."""
        self._inner.shutdown()
