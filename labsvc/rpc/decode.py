"""A request that cannot be decoded is INVALID_ARGUMENT.

Without this the caller reads UNKNOWN with a Python exception in its text (grpc.aio) or INTERNAL
(grpc.server), as if the server had failed. The mistake is the caller's, and it is definite: the
handler never ran (google.rpc.Code says so of INVALID_ARGUMENT).

Covers methods with one request; a stream of requests is decoded inside its handler, which sees
the error itself. Put it last in the list of interceptors, so that those before it see and count
the refusal; they get the request as bytes. One instance serves one server.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TEXT = "the request is not a valid message of this method; compare the schema versions"


class DecodeErrors(grpc.aio.ServerInterceptor):
    """The interceptor for grpc.aio.server."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now decodes by itself."""
        return _remembered(self._seen, await continuation(handler_call_details))


class DecodeErrorsThreaded(grpc.ServerInterceptor):
    """The interceptor for grpc.server."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now decodes by itself."""
        return _remembered(self._seen, continuation(handler_call_details))


def _remembered(seen: dict[int, tuple[Any, Any]], handler: Any) -> Any:
    """Wrap each handler once; the handler is kept beside its wrapper, so its id stays its own."""
    if handler is None or handler.request_streaming or handler.request_deserializer is None:
        return handler
    if id(handler) not in seen:
        seen[id(handler)] = (handler, _decoding(handler))
    return seen[id(handler)][1]


def _decoding(handler: Any) -> Any:
    kind = "unary_stream" if handler.response_streaming else "unary_unary"
    method, decode = getattr(handler, kind), handler.request_deserializer
    if inspect.isasyncgenfunction(method):
        wrapped = _stream(method, decode)
    elif inspect.iscoroutinefunction(method):
        wrapped = _coroutine(method, decode)
    else:
        wrapped = _function(method, decode)
    return handler._replace(request_deserializer=None, **{kind: wrapped})


def _stream(method: Any, decode: Any) -> Any:
    async def wrapped(raw: bytes, context: Any) -> AsyncIterator[Any]:
        try:
            request = decode(raw)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        async with aclosing(method(request, context)) as responses:
            async for response in responses:
                yield response

    return wrapped


def _coroutine(method: Any, decode: Any) -> Any:
    async def wrapped(raw: bytes, context: Any) -> Any:
        try:
            request = decode(raw)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return await method(request, context)

    return wrapped


def _function(method: Any, decode: Any) -> Any:
    def wrapped(raw: bytes, context: Any) -> Any:
        try:
            request = decode(raw)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return method(request, context)

    return wrapped
