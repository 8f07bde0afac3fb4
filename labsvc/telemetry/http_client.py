"""Spans for requests of httpx2, which OpenTelemetry has no instrumentation for (httpx has one).

    http = httpx2.Client(transport=TracedTransport(httpx2.HTTPTransport(), tracing.provider))

A request is a span of kind client, from its first byte to the headers of the answer; its context
goes out as `traceparent`. Names and attributes are those of OpenTelemetry's semantic conventions
for HTTP: the method is the name, and a status from 400 on is an error of the client's span.
The query and who asks (`user:password@`) are left out: they may be what no trace should show.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
from opentelemetry import propagate
from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["AioTracedTransport", "TracedTransport"]

_ERRORS_FROM = 400
_PORTS = {"http": 80, "https": 443}


class TracedTransport(httpx2.BaseTransport):
    """Makes a span of each request that another transport sends."""

    def __init__(self, inner: httpx2.BaseTransport, provider: TracerProvider) -> None:
        self._inner = inner
        self._tracer = provider.get_tracer("labsvc")

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request inside a span."""
        with _span(self._tracer, request) as span:
            response = self._inner.handle_request(request)
            _note(span, response)
            return response

    def close(self) -> None:
        """Close the other transport."""
        self._inner.close()


class AioTracedTransport(httpx2.AsyncBaseTransport):
    """Does the same for asyncio."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, provider: TracerProvider) -> None:
        self._inner = inner
        self._tracer = provider.get_tracer("labsvc")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request inside a span."""
        with _span(self._tracer, request) as span:
            response = await self._inner.handle_async_request(request)
            _note(span, response)
            return response

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._inner.aclose()


@contextmanager
def _span(tracer: Tracer, request: httpx2.Request) -> Iterator[Span]:
    url = request.url
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "url.full": str(url.copy_with(query=None, fragment=None, userinfo=b"")),
        "server.address": url.host,
        "server.port": url.port or _PORTS.get(url.scheme, 0),
    }
    with tracer.start_as_current_span(
        request.method, kind=SpanKind.CLIENT, attributes=attributes
    ) as span:
        propagate.inject(request.headers)
        yield span


def _note(span: Span, response: httpx2.Response) -> None:
    span.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= _ERRORS_FROM:
        span.set_status(Status(StatusCode.ERROR))
