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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from labsvc.rpc._wraps import Wraps, kind, unless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_TEXT = "the request is not a valid message of this method; compare the schema versions"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands in for a request that is no message of its method."""

    raw: bytes


class DecodeErrors(grpc.aio.ServerInterceptor):
    """The interceptor for grpc.aio.server."""

    def __init__(self) -> None:
        self._wraps = Wraps(_decoding)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now refuses what is no message."""
        handler = await continuation(handler_call_details)
        return self._wraps.wrap(handler_call_details.method, handler)


class DecodeErrorsThreaded(grpc.ServerInterceptor):
    """The interceptor for grpc.server."""

    def __init__(self) -> None:
        self._wraps = Wraps(_decoding)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now refuses what is no message."""
        handler = continuation(handler_call_details)
        return self._wraps.wrap(handler_call_details.method, handler)


def _decoding(_method: str, handler: Any) -> Any:
    if handler.request_streaming or handler.request_deserializer is None:
        return handler
    way = kind(handler)
    return handler._replace(
        request_deserializer=_lenient(handler.request_deserializer),
        **{way: unless(_refusal, getattr(handler, way))},
    )


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Hand bytes that are no message on, where grpc would answer for the handler."""

    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return Undecodable(raw)

    return decoded


def _refusal(request: Any, _context: Any) -> tuple[grpc.StatusCode, str] | None:
    if isinstance(request, Undecodable):
        return grpc.StatusCode.INVALID_ARGUMENT, _TEXT
    return None
