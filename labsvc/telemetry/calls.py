"""One gRPC call of a server, as `metrics` and `logs` get to see it when it has ended.

It is seen as `labsvc.rpc.observe` sees it: its status is the one that leaves the interceptors
behind this one, so put what watches outermost; only OpenTelemetry's own interceptor comes before.
The time starts when the call arrives: in a server with threads, the wait for one is part of it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.trace import format_trace_id, get_current_span

from labsvc.rpc import context as call_context
from labsvc.rpc._server import Layer
from labsvc.rpc.observe import UNKNOWN_METHOD, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from labsvc.rpc._guard import Call, Guard

__all__ = ["ABSENT", "EndedCall", "Ids", "Watching", "ids"]

ABSENT = "-"
"""What stands for an id that a call does not have."""

_arrived: ContextVar[float] = ContextVar("arrived")


class Ids(NamedTuple):
    """What joins a line or a number to others.

    Attributes:
        trace_id: 32 hex digits, of OpenTelemetry's current span or else of `labsvc.rpc.context`.
        sampled: whether the trace is kept, so that somebody can look it up.
        request_id: as `labsvc.rpc.context` has it, and so is
        user_id: who asks.

    """

    trace_id: str
    sampled: bool
    request_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class EndedCall:
    """What is known of a call when it has ended.

    Attributes:
        method: "labsvc.shop.v1.UserService/GetUser"; "(unknown method)" for one that the server
            lacks, since a caller can make such names up without an end.
        code: the name of its status, "OK". A call that its client left is CANCELLED, also where
            the client reads DEADLINE_EXCEEDED.
        seconds: from its arrival to its status.
        ids: as they were when it came.
        metadata: what came with the call: secrets too.

    """

    method: str
    code: str
    seconds: float
    ids: Ids
    metadata: tuple[tuple[str, str | bytes], ...]


class Watching(Layer):
    """The layer of an interceptor that hands each call to a function, once, when it has ended."""

    def __init__(self, ended: Callable[[EndedCall], None]) -> None:
        super().__init__()
        self._ended = ended

    def arrives(self, details: Any) -> None:
        """Take the time. This and the handler run in one Context, which is this call's own."""
        _arrived.set(time.perf_counter())

    def find(self, method: str, handler: Any) -> Any:
        """Return the handler, watched; a method that does not exist is a call that has ended."""
        if handler is None:
            _OneCall(self._ended, UNKNOWN_METHOD, ()).end(UNKNOWN_METHOD, "UNIMPLEMENTED")
        return super().find(method, handler)

    def guard(self, method: str, handler: Any) -> Guard | None:
        """Watch every method."""
        return partial(self._watch, method.strip("/"))

    def _watch(self, method: str, call: Call) -> AbstractContextManager[object]:
        metadata = call.context.invocation_metadata() or ()
        return watch(call, _OneCall(self._ended, method, metadata), method)


class _OneCall:
    """The `Watcher` of one call: knows what it was when it came, and hands it on when it ends."""

    __slots__ = ("_ended", "_ids", "_metadata", "_method", "_start")

    def __init__(self, ended: Callable[[EndedCall], None], method: str, metadata: Any) -> None:
        self._ended = ended
        self._method = method
        self._metadata = tuple((key, value) for key, value in metadata)
        self._start = _arrived.get()
        self._ids = ids()  # now: a stream may be closed in another Context

    def begin(self, method: str) -> None:
        """Do nothing: a call is told of when it has ended."""

    def end(self, method: str, code: str, error: BaseException | None = None) -> None:
        """Tell of it."""
        seconds = time.perf_counter() - self._start
        self._ended(EndedCall(self._method, code, seconds, self._ids, self._metadata))


def ids() -> Ids:
    """Return the ids of the call that is served now, "-" for those that it does not have."""
    span, context = get_current_span().get_span_context(), call_context.current()
    if context is None:
        request_id, user_id = ABSENT, ABSENT
    else:
        request_id, user_id = context.request_id, context.user_id or ABSENT
        span = span if span.is_valid else context.span
    trace_id = format_trace_id(span.trace_id) if span.is_valid else ABSENT
    return Ids(trace_id, span.is_valid and span.trace_flags.sampled, request_id, user_id)
