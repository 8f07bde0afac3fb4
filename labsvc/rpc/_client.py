"""Client interceptors that change something about every call before it leaves.

The common part of `labsvc.rpc.deadline` and `labsvc.rpc.context`: one function of the call's
details gives what is to change, for all four kinds of calls, sync and aio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Any], dict[str, Any]]

_FIELDS = ("method", "timeout", "metadata", "credentials", "wait_for_ready")


class _Details(grpc.ClientCallDetails):
    """The details of a sync call."""

    def __init__(self, details: Any, changes: dict[str, Any]) -> None:
        for name in (*_FIELDS, "compression"):
            setattr(self, name, changes.get(name, getattr(details, name, None)))


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """The interceptor for grpc.intercept_channel.

    `change(details)` returns the attributes of grpc.ClientCallDetails that differ; `started(call)`
    gets the call, which for a blocking unary call is over by then.
    """

    def __init__(self, change: Change, started: Callable[[Any], None] = lambda _: None) -> None:
        self._change = change
        self._started = started

    def joined(self, inner: ClientInterceptor) -> ClientInterceptor:
        """Return one interceptor that does what both do, this one first.

        grpc makes a new multi-callable in each layer for each call; one layer is cheaper than two.
        """

        def change(details: Any) -> dict[str, Any]:
            changes = self._change(details)
            return changes | inner._change(_Details(details, changes))

        def started(call: Any) -> None:
            inner._started(call)
            self._started(call)

        return ClientInterceptor(change, started)

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        call = continuation(_Details(details, self._change(details)), request)
        self._started(call)
        return call

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


class _Aio:
    def __init__(self, change: Change) -> None:
        self._change = change

    async def intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        changes = self._change(details)
        kept = [changes.get(name, getattr(details, name)) for name in _FIELDS]
        return await continuation(grpc.aio.ClientCallDetails(*kept), request)


class _UnaryUnary(_Aio, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _Aio.intercept


class _UnaryStream(_Aio, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _Aio.intercept


class _StreamUnary(_Aio, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _Aio.intercept


class _StreamStream(_Aio, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _Aio.intercept


def aio_client_interceptors(change: Change) -> list[grpc.aio.ClientInterceptor]:
    """Return one interceptor for each kind of call: grpc.aio takes an object for one kind only."""
    return [_UnaryUnary(change), _UnaryStream(change), _StreamUnary(change), _StreamStream(change)]
