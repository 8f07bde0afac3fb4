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
import grpc.aio
from google.protobuf.message import DecodeError

from labsvc.rpc import _server
from labsvc.rpc._guard import NOTHING, Refused
from labsvc.rpc._server import Layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from labsvc.rpc._guard import Call, Guard

_TEXT = "the request is not a valid message of this method; compare the schema versions"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Stands in for a request that is no message of its method."""

    raw: bytes


def server() -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server."""
    return _server.server(_Decoding())


def aio_server() -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server."""
    return _server.aio_server(_Decoding())


class _Decoding(Layer):
    def guard(self, method: str, handler: Any) -> Guard | None:
        return _refuse

    def wrap(self, method: str, handler: Any) -> Any:
        decode = handler.request_deserializer
        if handler.request_streaming or decode is None:
            return handler
        return super().wrap(method, handler._replace(request_deserializer=_lenient(decode)))


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Hand bytes that are no message on, where grpc would answer for the handler."""

    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return Undecodable(raw)

    return decoded


def _refuse(call: Call) -> AbstractContextManager[None]:
    if isinstance(call.request, Undecodable):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
    return NOTHING
