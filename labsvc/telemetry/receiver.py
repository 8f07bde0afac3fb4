"""The receiving end of OTLP, over gRPC and over HTTP, and what it has received.

OTLP is OpenTelemetry's protocol (specification, "OTLP"): a request carries a batch of spans.
`Received` keeps them; `TraceReceiver` takes them over gRPC, `otlp_http` over HTTP (protobuf).
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from labsvc.telemetry.spans import Span, Trace, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.telemetry.tail import TailSampler

__all__ = ["CollectorStats", "Received", "TraceReceiver", "otlp_http"]

MOST = 200_000
"""Spans kept; the oldest traces go first, and their spans are counted as dropped."""

_MOST_BYTES = 64 * 1024 * 1024  # of an unpacked HTTP body
_Request = trace_service_pb2.ExportTraceServiceRequest
_Response = trace_service_pb2.ExportTraceServiceResponse


@dataclass(frozen=True)
class CollectorStats:
    """What a collector has counted since its first start: received = kept + refused + waiting.

    Attributes:
        requests: export requests, each a batch of spans.
        received: spans in them.
        kept: spans that are kept, or were until they were dropped.
        refused: spans of traces that tail sampling did not keep.
        waiting: spans whose trace is not decided on yet.
        dropped: spans that were kept and gave way to newer ones.

    """

    requests: int
    received: int
    kept: int
    refused: int
    waiting: int
    dropped: int


class Received:
    """The spans of a collector, by trace. May be used from any thread."""

    def __init__(self, sampler: TailSampler | None = None, most: int = MOST) -> None:
        self._lock = threading.RLock()  # a policy of tail sampling may look in here
        self._sampler = sampler
        self._most = most
        self._traces: OrderedDict[str, list[Span]] = OrderedDict()
        self._held = 0
        self._requests = self._received = self._kept = self._refused = self._dropped = 0

    def take(self, request: _Request) -> None:
        """Take the spans of one request in."""
        spans = decode(request.resource_spans)
        with self._lock:
            self._requests += 1
            self._received += len(spans)
            if self._sampler is None:
                self._keep(spans, 0)
            else:
                now = time.monotonic()
                self._keep(*self._sampler.due(now))  # first: what is late shares the decision
                self._keep(*self._sampler.take(spans, now))

    def decide(self) -> None:
        """Decide on the traces whose time has come, where there is tail sampling."""
        if self._sampler is not None:
            with self._lock:
                self._keep(*self._sampler.due(time.monotonic()))

    def traces(self) -> list[Trace]:
        """Return the traces that are kept, in the order in which their first spans came."""
        self.decide()
        with self._lock:
            items = [(trace_id, list(spans)) for trace_id, spans in self._traces.items()]
        return [Trace.of(trace_id, spans) for trace_id, spans in items]

    def trace(self, trace_id: str) -> Trace:
        """Return one trace; without spans, if none of it is kept."""
        self.decide()
        with self._lock:
            return Trace.of(trace_id, list(self._traces.get(trace_id, ())))

    def clear(self) -> None:
        """Forget the spans that are kept; the counts go on."""
        with self._lock:
            self._traces.clear()
            self._held = 0

    def stats(self) -> CollectorStats:
        """Return what was counted."""
        self.decide()
        with self._lock:
            return CollectorStats(
                self._requests,
                self._received,
                self._kept,
                self._refused,
                self._sampler.waiting if self._sampler else 0,
                self._dropped,
            )

    def _keep(self, spans: list[Span], refused: int) -> None:
        self._refused += refused
        self._kept += len(spans)
        self._held += len(spans)
        for span in spans:
            self._traces.setdefault(span.trace_id, []).append(span)
        while self._held > self._most:
            _, gone = self._traces.popitem(last=False)
            self._held -= len(gone)
            self._dropped += len(gone)


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """OTLP over gRPC, for grpc.aio.

    Args:
        take: what to do with a request.
        delay: called before each answer; returns the seconds to wait.

    """

    def __init__(self, take: Callable[[_Request], object], delay: Callable[[], float]) -> None:
        self._take = take
        self._delay = delay

    async def Export(self, request: _Request, context: Any) -> _Response:
        """Take one batch."""
        await asyncio.sleep(self._delay())
        self._take(request)
        return _Response()


def otlp_http(take: Callable[[_Request], object], delay: Callable[[], float]) -> Any:
    """Return an ASGI app that takes OTLP over HTTP: POST /v1/traces, protobuf, gzip or plain.

    The arguments are those of `TraceReceiver`.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if (scope["method"], scope["path"]) != ("POST", "/v1/traces"):
            await _answer(send, 404, b"POST /v1/traces is all there is")
            return
        headers = dict(scope["headers"])
        body = await _body(receive)
        if body is None:
            return
        try:
            request = _Request.FromString(_unpacked(headers.get(b"content-encoding"), body))
        except (DecodeError, OSError, EOFError, zlib.error, ValueError):
            await _answer(send, 400, b"the body is no OTLP request in protobuf, gzip or plain")
            return
        await asyncio.sleep(delay())
        take(request)
        await _answer(send, 200, _Response().SerializeToString(), b"application/x-protobuf")

    return app


async def _body(receive: Any) -> bytes | None:
    """Return the whole body; None, if the client went away before its end."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _unpacked(encoding: bytes | None, body: bytes) -> bytes:
    if encoding is None or encoding.lower() == b"identity":
        return body
    if encoding.lower() != b"gzip":
        msg = f"unknown content-encoding {encoding!r}"
        raise ValueError(msg)
    unpacker = zlib.decompressobj(wbits=31)
    plain = unpacker.decompress(body, _MOST_BYTES)
    if unpacker.unconsumed_tail or unpacker.unused_data or not unpacker.eof:
        msg = "the body is cut short, goes on behind its end, or is too large when unpacked"
        raise ValueError(msg)
    return plain


async def _answer(send: Any, status: int, body: bytes, kind: bytes = b"text/plain") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
