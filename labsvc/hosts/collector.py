"""An OpenTelemetry collector in the kernel: takes spans over OTLP, keeps them, and shows them.

It speaks the protocol of the OpenTelemetry Collector and of Jaeger. With
OTEL_EXPORTER_OTLP_ENDPOINT set, all that it receives is also sent on to that one, before tail
sampling; what a cell reads stays the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from labsvc.hosts.grpc import GrpcService
from labsvc.hosts.http import HttpService
from labsvc.hosts.service import LoopService
from labsvc.telemetry.forward import Forward
from labsvc.telemetry.receiver import CollectorStats, Received, TraceReceiver, otlp_http
from labsvc.telemetry.tail import TailSampler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    from labsvc.loop import Loop
    from labsvc.telemetry.spans import Trace
    from labsvc.telemetry.tail import Keep

VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


class CollectorService(LoopService):
    """Takes OTLP over gRPC (`.endpoint`) and HTTP (`.http_url`); `Lab.serve_collector` makes one.

    `delay` is how many seconds it waits before each answer, 0.0 at first; set it to make a slow
    collector.
    """

    def __init__(self, loop: Loop, name: str, keep: Keep | None, wait: float) -> None:
        super().__init__(loop, name)
        self.delay = 0.0
        self._received = Received(TailSampler(keep, wait, self.log) if keep else None)
        self._grpc = GrpcService(loop, name, [TraceReceiver(self._take, self._wait)])
        self._http = HttpService(loop, f"{name}-http", otlp_http(self._take, self._wait))
        other = os.environ.get(VARIABLE)
        self._forward = Forward(other, self.log) if other else None

    @property
    def endpoint(self) -> str:
        """Where OTLP goes over gRPC, as "http://127.0.0.1:port"."""
        return f"http://{self.target}"

    @property
    def http_url(self) -> str:
        """Where OTLP goes over HTTP: POST "http://127.0.0.1:port/v1/traces"."""
        return f"{self._http.url}/v1/traces"

    @property
    def stats(self) -> CollectorStats:
        """Requests, and what became of the spans in them, since the first start."""
        return self._received.stats()

    def traces(self) -> list[Trace]:
        """Return the traces that are kept, in the order in which their first spans came."""
        return self._received.traces()

    def trace(self, trace_id: int | str) -> Trace:
        """Return one trace, by its id in hex or as OpenTelemetry's API gives it.

        It has no spans if none of it is kept.
        """
        text = f"{trace_id:032x}" if isinstance(trace_id, int) else trace_id
        return self._received.trace(text)

    def clear(self) -> None:
        """Forget the traces; the counts go on."""
        self._received.clear()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        self._received.take(request)
        if self._forward is not None:
            self._forward.put(request)

    def _wait(self) -> float:
        return self.delay

    def _own_ports(self) -> Iterable[int]:
        return (self._port, int(self._http.target.rpartition(":")[2]))

    async def _aopen(self, port: int) -> int:
        taken = await self._grpc.aopen(port)
        await self._http.aopen()
        if self._forward is not None:
            self._forward.start()
        return taken

    async def _aclose(self, grace: float) -> None:
        await self._http.aclose(grace)
        await self._grpc.aclose(grace)
        if self._forward is not None:
            await self._forward.close()
