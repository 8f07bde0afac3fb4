"""OpenTelemetry's interceptors for gRPC, which have no types, for one `Tracing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation import grpc as untyped
from opentelemetry.instrumentation.grpc import grpcext

if TYPE_CHECKING:
    import grpc

    from labsvc.telemetry import Tracing

_grpc: Any = untyped
_grpcext: Any = grpcext


def server(tracing: Tracing) -> list[Any]:
    """Return what makes a span of each call that a server with threads gets."""
    return [_grpc.server_interceptor(tracer_provider=tracing.provider)]


def aio_server(tracing: Tracing, only: Any = None) -> list[Any]:
    """Return the same for grpc.aio, for calls that a filter lets through."""
    return [_grpc.aio_server_interceptor(tracer_provider=tracing.provider, filter_=only)]


def channel(tracing: Tracing, bare: grpc.Channel, only: Any = None) -> grpc.Channel:
    """Return a channel that makes a span of each call over another one, if a filter lets it."""
    watched = _grpc.client_interceptor(tracer_provider=tracing.provider, filter_=only)
    made: grpc.Channel = _grpcext.intercept_channel(bare, watched)
    return made


def aio_client(tracing: Tracing) -> list[Any]:
    """Return what does so for a channel of grpc.aio."""
    made: list[Any] = _grpc.aio_client_interceptors(tracer_provider=tracing.provider)
    return made
