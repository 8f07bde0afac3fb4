"""A request that cannot be decoded is INVALID_ARGUMENT.

Without this the caller reads UNKNOWN with a Python exception in its text (grpc.aio) or INTERNAL
(grpc.server), as if the server had failed. The mistake is the caller's, and it is definite: the
handler never ran (google.rpc.Code says so of INVALID_ARGUMENT).

Covers methods with one request; a stream of requests is decoded by grpc, message by message. Put it
last in the list of interceptors, nearest to the handler, so that those before it count the
refusal. They get the decoded request, or an `Undecodable` in its place. One instance serves one
server.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TEXT = "the request is not a valid message of this method; compare the schema versions"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands in for a request that is no message of its method."""

    raw: bytes


class DecodeErrors(grpc.aio.ServerInterceptor):
    """The interceptor for grpc.aio.server."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now refuses what is no message."""
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
        """Return the method's handler, which now refuses what is no message."""
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
    method = getattr(handler, kind)
    if inspect.isasyncgenfunction(method):
        wrapped = _stream(method)
    elif inspect.iscoroutinefunction(method):
        wrapped = _coroutine(method)
    else:
        wrapped = _function(method)
    return handler._replace(
        request_deserializer=_lenient(handler.request_deserializer), **{kind: wrapped}
    )


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Hand bytes that are no message on, where grpc would answer for the handler."""

    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return Undecodable(raw)

    return decoded


def _stream(method: Any) -> Any:
    async def wrapped(request: Any, context: Any) -> AsyncIterator[Any]:
        if isinstance(request, Undecodable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        async with aclosing(method(request, context)) as responses:
            async for response in responses:
                yield response

    return wrapped


def _coroutine(method: Any) -> Any:
    async def wrapped(request: Any, context: Any) -> Any:
        if isinstance(request, Undecodable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return await method(request, context)

    return wrapped


def _function(method: Any) -> Any:
    def wrapped(request: Any, context: Any) -> Any:
        if isinstance(request, Undecodable):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return method(request, context)

    return wrapped
