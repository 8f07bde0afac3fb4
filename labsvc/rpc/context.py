"""Carry trace id, user and request id through every hop.

gRPC for Python passes none of it on: metadata that arrives stays in `context`, and the next call
starts with none (claims C13 and C14, notebook 24). A pair of interceptors does it for every method:
the server's reads metadata into a context variable, the client's writes it out again.

    grpc.server(pool, interceptors=[context.server()])
    channel = grpc.intercept_channel(channel, context.client())

    grpc.aio.server(interceptors=[context.aio_server()])
    grpc.aio.insecure_channel(target, interceptors=context.aio_client())

A context variable follows `await`, `asyncio.create_task` and `asyncio.to_thread`. It is lost in
`executor.submit`, `loop.run_in_executor` and `threading.Thread`: use `ContextExecutor` or `carry`
there (claim C15). Plain handlers on a grpc.aio server run in such an executor: make them async.

The keys are `traceparent` and `tracestate` (W3C Trace Context, level 1; OpenTelemetry's propagator
reads and writes them), `x-request-id` and `x-user-id`. They say who asks; they prove nothing.
Behind the gateway's authentication (notebook 40), strip them from what comes from outside.
"""

from __future__ import annotations

import contextvars
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import grpc
import grpc.aio

from labsvc.rpc import _server
from labsvc.rpc._call_context import REQUEST_ID, USER_ID, CallContext
from labsvc.rpc._client import ClientInterceptor, aio_client_interceptors
from labsvc.rpc._server import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

__all__ = [
    "REQUEST_ID",
    "USER_ID",
    "CallContext",
    "ContextExecutor",
    "LogFilter",
    "aio_client",
    "aio_server",
    "carry",
    "client",
    "current",
    "server",
    "use",
]

P = ParamSpec("P")
R = TypeVar("R")

_current: contextvars.ContextVar[CallContext | None] = contextvars.ContextVar(
    "labsvc_call_context", default=None
)


def current() -> CallContext | None:
    """Return the context of the request that is being served here, None outside of one."""
    return _current.get()


@contextmanager
def use(context: CallContext) -> Iterator[CallContext]:
    """Make it the current one in a `with` block: at the gateway, or in a script."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def server() -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server."""
    return _server.server(_Reads())


def aio_server() -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server."""
    return _server.aio_server(_Reads())


def client() -> ClientInterceptor:
    """Return the interceptor for grpc.intercept_channel."""
    return ClientInterceptor(_hand_on)


def aio_client() -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors for a grpc.aio channel."""
    return aio_client_interceptors(_hand_on)


class _Reads(Layer):
    def arrives(self, details: Any) -> None:
        # gRPC runs this and the handler in one Context, which is this call's own.
        _current.set(CallContext.received(details.invocation_metadata))


def _hand_on(details: Any) -> dict[str, Any]:
    """Add the current context to a call's metadata; what the caller set by hand stays."""
    context = _current.get()
    if context is None:
        return {}
    own = list(details.metadata or ())
    taken = {key for key, _ in own}
    added = [pair for pair in context.metadata() if pair[0] not in taken]
    return {"metadata": grpc.aio.Metadata(*own, *added)}


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function bound to the context variables of now, for a thread or a callback.

    It may run once at a time: a Context cannot be entered twice.
    """
    return functools.partial(contextvars.copy_context().run, function)


class ContextExecutor(ThreadPoolExecutor):
    """A thread pool whose work sees the context variables of whoever submitted it."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit as ThreadPoolExecutor does, in a copy of the caller's context."""
        return super().submit(carry(fn), *args, **kwargs)


class LogFilter(logging.Filter):
    """Adds `trace_id`, `request_id` and `user_id` to every record; "-" outside of a request.

    Put it on the handler, so that it sees the records of every logger.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields and let the record pass."""
        context = _current.get()
        record.trace_id = context.trace_id if context else "-"
        record.request_id = context.request_id if context else "-"
        record.user_id = (context.user_id if context else None) or "-"
        return True
