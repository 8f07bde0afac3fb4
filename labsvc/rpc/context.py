"""Carry trace id, user and request id through every hop.

gRPC for Python passes none of it on: metadata that arrives stays in `context`, and the next call
starts with none (claims C13 and C14, notebook 04). A pair of interceptors does it for every method:
the server's reads metadata into a context variable, the client's writes it out again.

    grpc.server(pool, interceptors=[context.server()])
    channel = grpc.intercept_channel(channel, context.client())

    grpc.aio.server(interceptors=[context.aio_server()])
    grpc.aio.insecure_channel(target, interceptors=context.aio_client())

A context variable follows `await`, `asyncio.create_task` and `asyncio.to_thread`. It is lost in
`executor.submit`, `loop.run_in_executor` and `threading.Thread`: use `ContextExecutor` or `carry`
there (claim C15). Plain handlers on a grpc.aio server run in such an executor: make them async.

The keys are `traceparent` (W3C Trace Context, level 1), `x-request-id` and `x-user-id`. They say
who asks; they prove nothing. Behind the gateway's authentication (notebook 10), strip them from
what comes from outside.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from labsvc.rpc._client import ClientInterceptor, aio_client_interceptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from concurrent.futures import Future

P = ParamSpec("P")
R = TypeVar("R")

TRACEPARENT = "traceparent"
REQUEST_ID = "x-request-id"
USER_ID = "x-user-id"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ID = re.compile(r"[!-~]{1,128}")  # fits a log line and a header, whoever sent it


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The W3C traceparent: 32 hex digits for the trace, 16 for the span, and the sampled flag."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def new(cls) -> Self:
        """Return the start of a new trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a header says, None if it is not valid: then a new trace is due.

        Fields that a later version appends are left out, as the specification wants it.
        """
        match = _TRACEPARENT.fullmatch(text)
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        unknown = version == "ff" or (version == "00" and more is not None)
        if unknown or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, sampled=bool(int(flags, 16) & 1))

    def child(self) -> Self:
        """Return a new span of the same trace."""
        return replace(self, span_id=secrets.token_hex(8))

    def __str__(self) -> str:
        """Return the header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a request carries from hop to hop.

    Raises ValueError for an id that metadata cannot carry: 1 to 128 characters of visible ASCII.
    """

    trace: TraceParent
    request_id: str
    user_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("request_id", "user_id"):
            value = getattr(self, name)
            if value is not None and _id(value) is None:
                msg = f"{name} must be 1 to 128 visible ASCII characters, not {value!r}"
                raise ValueError(msg)

    @classmethod
    def new(cls, user_id: str | None = None) -> Self:
        """Return the context of a request that starts here."""
        return cls(TraceParent.new(), secrets.token_hex(8), user_id)

    @classmethod
    def received(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Self:
        """Return the context that came with a call; what is missing or malformed is made anew.

        The trace goes on with a new span for the hop that received it.
        """
        found = {key: value for key, value in metadata if isinstance(value, str)}
        trace = TraceParent.parse(found.get(TRACEPARENT, ""))
        return cls(
            trace.child() if trace else TraceParent.new(),
            _id(found.get(REQUEST_ID)) or secrets.token_hex(8),
            _id(found.get(USER_ID)),
        )

    def metadata(self) -> list[tuple[str, str]]:
        """Return the metadata that hands it on."""
        pairs = [(TRACEPARENT, str(self.trace)), (REQUEST_ID, self.request_id)]
        return pairs if self.user_id is None else [*pairs, (USER_ID, self.user_id)]


def _id(text: str | None) -> str | None:
    return text if text is not None and _ID.fullmatch(text) else None


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
    return _Server()


def aio_server() -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server."""
    return _AioServer()


def client() -> ClientInterceptor:
    """Return the interceptor for grpc.intercept_channel."""
    return ClientInterceptor(_hand_on)


def aio_client() -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors for a grpc.aio channel."""
    return aio_client_interceptors(_hand_on)


class _Server(grpc.ServerInterceptor):
    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        # gRPC runs this and the handler in one Context, which is this call's own.
        _current.set(CallContext.received(handler_call_details.invocation_metadata))
        return continuation(handler_call_details)


class _AioServer(grpc.aio.ServerInterceptor):
    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        _current.set(CallContext.received(handler_call_details.invocation_metadata))
        return await continuation(handler_call_details)


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
        record.trace_id = context.trace.trace_id if context else "-"
        record.request_id = context.request_id if context else "-"
        record.user_id = (context.user_id if context else None) or "-"
        return True
