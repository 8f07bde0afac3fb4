"""What each service of the shop tells of itself: spans, RED metrics, and its last log lines."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.grpc import client_interceptor, server_interceptor
from opentelemetry.instrumentation.grpc.grpcext import intercept_channel
from prometheus_client import CollectorRegistry, Counter, Histogram

from labsvc.telemetry import Tracing, logs, metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import grpc
    from fastapi import FastAPI, Request, Response

LINES = 2000


class Observed:
    """The telemetry of one service.

    Attributes:
        name: of the service, as spans and log lines have it.
        registry: its metrics.
        lines: its last log lines, as JSON.
        log: a logger for lines of its own.

    """

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        self.tracing = Tracing(name, endpoint)
        self.registry = CollectorRegistry()
        self.lines: deque[str] = deque(maxlen=LINES)
        self.log = logging.Logger(f"shop.{name}")  # noqa: LOG001  # no root, and no other shop, hears it
        self.log.addHandler(_Keep(self.lines))

    def server(self) -> Sequence[Any]:
        """Return the interceptors of a gRPC server with threads; call it once."""
        return [
            server_interceptor(tracer_provider=self.tracing.provider),  # type: ignore[no-untyped-call]
            metrics.server(metrics.Red(self.registry)),
            logs.server(logs.CallLog(self.log)),
        ]

    def channel(self, channel: grpc.Channel) -> grpc.Channel:
        """Return a channel whose calls are spans of this service."""
        provider = self.tracing.provider
        watched = client_interceptor(tracer_provider=provider)  # type: ignore[no-untyped-call]
        seen: grpc.Channel = intercept_channel(channel, watched)  # type: ignore[no-untyped-call]
        return seen

    def app(self, app: FastAPI) -> HttpRed:
        """Watch an HTTP service, and return its metrics."""
        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=self.tracing.provider, exclude_spans=["receive", "send"]
        )
        red = HttpRed(self.registry)
        app.middleware("http")(red.watch)
        return red

    def close(self) -> None:
        """Send the last spans."""
        self.tracing.close()


class HttpRed:
    """RED metrics of an HTTP service, by method and code.

    `user_label` adds the user to the labels, which a service with users must not do (claim C36,
    notebook 61).
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._user_label = False
        self._metrics = self._made()

    @property
    def user_label(self) -> bool:
        """Whether each user has a series of their own. Setting it starts the metrics anew."""
        return self._user_label

    @user_label.setter
    def user_label(self, value: bool) -> None:
        for metric in self._metrics:
            self._registry.unregister(metric)
        self._user_label = value
        self._metrics = self._made()

    async def watch(
        self, request: Request, go_on: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Count a request, as a middleware of FastAPI."""
        began, code = time.perf_counter(), "500"
        try:
            response = await go_on(request)
            code = str(response.status_code)
            return response
        finally:
            counter, histogram = self._metrics
            labels = {"method": request.method, "code": code}
            if self._user_label:
                labels["user"] = request.headers.get("x-user", "")
            with suppress(ValueError):  # another thread has just set the label
                counter.labels(**labels).inc()
                histogram.labels(**labels).observe(time.perf_counter() - began)

    def _made(self) -> tuple[Counter, Histogram]:
        labels = ("method", "code", "user") if self._user_label else ("method", "code")
        return (
            Counter("http_server_handled", "Requests.", labels, registry=self._registry),
            Histogram("http_server_seconds", "Their seconds.", labels, registry=self._registry),
        )


class _Keep(logging.Handler):
    """Keeps lines in a ring buffer."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self.setFormatter(logs.JsonLines((*logs.FIELDS, "order_id", "cause")))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
