"""Sends on what a collector keeps, to another one: Jaeger, or anything that takes OTLP over gRPC.

It is out of band once more: spans wait in a queue of their own, and are dropped when the other
collector does not keep up. What was sent and dropped is counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from labsvc.errors import LabError

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

__all__ = ["Forward"]

MOST_WAITING = 1000  # requests
TIMEOUT_SECONDS = 2.0
_OPTIONS = (("grpc.enable_http_proxy", 0),)


class Forward:
    """A queue of export requests, and a task that sends them; use it on one asyncio loop.

    Args:
        endpoint: "http://host:4317", or https for TLS, as in OTEL_EXPORTER_OTLP_ENDPOINT.
        log: takes a line for each request that could not be sent.

    Raises:
        LabError: the endpoint is no such address.

    """

    def __init__(self, endpoint: str, log: deque[str]) -> None:
        self._target, self._secure = _parse(endpoint)
        self._log = log
        self._waiting: deque[ExportTraceServiceRequest] = deque()
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.sent = 0
        self.dropped = 0

    def start(self) -> None:
        """Begin to send, on the running loop."""
        self._task = asyncio.create_task(self._run())

    def put(self, request: ExportTraceServiceRequest) -> None:
        """Queue a request; with `MOST_WAITING` of them there already, the oldest is dropped."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(request)
        self._awake.set()

    async def close(self) -> None:
        """End; what waits is dropped."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def _run(self) -> None:
        channel = (
            grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials(), _OPTIONS)
            if self._secure
            else grpc.aio.insecure_channel(self._target, _OPTIONS)
        )
        async with channel:
            export = trace_service_pb2_grpc.TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
            while True:
                await self._awake.wait()
                self._awake.clear()
                while self._waiting:
                    request = self._waiting.popleft()
                    try:
                        await export(request, timeout=TIMEOUT_SECONDS)
                        self.sent += 1
                    except grpc.aio.AioRpcError as error:
                        self._log.append(f"not sent on: {error.code().name}")
                        self.dropped += 1
                    except asyncio.CancelledError:
                        self.dropped += 1
                        raise


def _parse(endpoint: str) -> tuple[str, bool]:
    """Return "host:port", and whether it speaks TLS."""
    with suppress(ValueError):  # of brackets, or a port that is none
        parts = urlsplit(endpoint)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port:
            return parts.netloc.rpartition("@")[2], parts.scheme == "https"
    msg = "OTEL_EXPORTER_OTLP_ENDPOINT is no address; write http://127.0.0.1:4317"
    raise LabError(msg)
