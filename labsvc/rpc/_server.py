"""Server interceptors, for threads and for asyncio alike.

A module of this package describes in a `Layer` what it does around each handler, or before one is
found; `server(layer)` and `aio_server(layer)` are the two interceptors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc._guard import around

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from labsvc.rpc._guard import Guard, Refused


class Layer:
    """What one interceptor does; a subclass overrides what it needs."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, Any]] = {}

    def arrives(self, details: Any) -> None:
        """Take note of a call whose handler is not known yet."""

    def guard(self, method: str, handler: Any) -> Guard | None:
        """Return what runs around each call of a method; None to leave the method alone."""
        return None

    def failed(self, method: str, error: Exception) -> Refused | None:
        """Return the answer to what an interceptor behind this one raised; None lets it pass."""
        return None

    def wrap(self, method: str, handler: Any) -> Any:
        """Return the RpcMethodHandler to use in place of `handler`."""
        guard = self.guard(method, handler)
        if guard is None:
            return handler
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        wrapped = around(guard, getattr(handler, kind), streams=handler.response_streaming)
        return handler._replace(**{kind: wrapped})

    def find(self, method: str, handler: Any) -> Any:
        """Return the handler for a call, wrapped once: a server has the same few all its life.

        `handler` is None for a method that does not exist, and so is the result.
        """
        if handler is None:
            return None
        kept = self._kept.get(method)
        if kept is None or kept[0] is not handler:
            kept = self._kept[method] = handler, self.wrap(method, handler)
        return kept[1]


def server(layer: Layer) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server."""
    return _Server(layer)


def aio_server(layer: Layer) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server."""
    return _AioServer(layer)


class _Server(grpc.ServerInterceptor):
    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        self.layer.arrives(handler_call_details)
        method = handler_call_details.method
        try:
            handler = continuation(handler_call_details)
        except Exception as error:
            if (refused := self.layer.failed(method, error)) is None:
                raise
            return _refusing(refused)
        return self.layer.find(method, handler)


class _AioServer(grpc.aio.ServerInterceptor):
    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        self.layer.arrives(handler_call_details)
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            if (refused := self.layer.failed(method, error)) is None:
                raise
            return _aio_refusing(refused)
        return self.layer.find(method, handler)


# A handler for streams on both sides answers any kind of call, and waits for no request.
def _refusing(refused: Refused) -> Any:
    def handler(_: Any, context: Any) -> None:
        refused.abort(context)

    return grpc.stream_stream_rpc_method_handler(handler)


def _aio_refusing(refused: Refused) -> Any:
    async def handler(_: Any, context: Any) -> None:
        await refused.aio_abort(context)

    return grpc.stream_stream_rpc_method_handler(handler)
