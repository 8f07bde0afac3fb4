"""Pass the caller's deadline on, less a margin, and start no work that cannot finish.

gRPC sends a deadline over one hop: the caller's `timeout=` arrives as `context.time_remaining()`
(header grpc-timeout of the gRPC over HTTP/2 protocol). What it does in Python is no more than
that: the next call of the same handler has no deadline, or one of its own (claims C34 and C51,
notebook 22). These interceptors close the gap:

    grpc.server(pool, interceptors=[deadline.server(cap=10)])
    channel = grpc.intercept_channel(channel, deadline.client(default=2, margin=0.02))

    grpc.aio.server(interceptors=[deadline.aio_server(cap=10)])
    grpc.aio.insecure_channel(target, interceptors=deadline.aio_client(default=2, margin=0.02))

They also pass cancellation on. A grpc.aio handler is cancelled with its call and cancels what it
awaits (not through `asyncio.shield` or a new task). A handler in a thread is not: the client
interceptor ends its streams and its `stub.Method.future(...)` calls when the caller leaves. A
blocking `stub.Method(...)` cannot be cancelled by anybody; it ends at the deadline.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from labsvc.rpc import _server
from labsvc.rpc._client import ClientInterceptor, aio_client_interceptors
from labsvc.rpc._guard import NOTHING, Refused
from labsvc.rpc._server import Layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from labsvc.rpc._guard import Call, Guard

_SPENT = -1.0  # a timeout in the past fails at once and sends nothing; 0 may go through


@dataclass(frozen=True, order=True, slots=True)
class Deadline:
    """The moment after which nobody waits for the answer, in seconds of `time.monotonic()`.

    A value to hand down through functions, threads and tasks: unlike a timeout it does not start
    anew wherever it arrives.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, context: Any, cap: float) -> Self:
        """Return the deadline of the call that a handler serves, at most `cap` seconds from now.

        Without a deadline of the caller, `context.time_remaining()` is 9.2e18 (sync) or None
        (aio), and the first of these as a timeout makes a call fail at once.
        """
        left = context.time_remaining()
        return cls.after(cap if left is None else min(left, cap))

    def remaining(self) -> float:
        """Return the seconds that are left, 0.0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def timeout(self, at_most: float | None = None, margin: float = 0.0) -> float:
        """Return the `timeout=` for a call: what is left less `margin`, and no more than `at_most`.

        All in seconds. When nothing is left the result is negative: such a call ends with
        DEADLINE_EXCEEDED at once, and nothing is sent.
        """
        left = self.remaining() - margin
        if left <= 0:
            return _SPENT
        return left if at_most is None else min(left, at_most)


_current: ContextVar[Deadline | None] = ContextVar("labsvc_deadline", default=None)
_on_leave: ContextVar[Callable[[Callable[[], None]], bool] | None] = ContextVar(
    "labsvc_on_leave", default=None
)


def current() -> Deadline | None:
    """Return the deadline of the call that is being served here, None outside of one."""
    return _current.get()


def server(*, cap: float, needs: float = 0.0) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server.

    Args:
        cap: Seconds that a call gets at most, also when its caller set no deadline.
        needs: Seconds that a handler needs. A call with less left is refused with
            DEADLINE_EXCEEDED, and the handler does not run.

    """
    return _server.server(_Deadlines(cap, needs))


def aio_server(*, cap: float, needs: float = 0.0) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(_Deadlines(cap, needs))


def client(*, default: float, margin: float = 0.0) -> ClientInterceptor:
    """Return the interceptor for grpc.intercept_channel.

    A call gets the shortest of its own `timeout=` and what the call being served has left.

    Args:
        default: Seconds for a call that has neither.
        margin: Seconds kept back for this hop's own work after the answer.

    """
    return ClientInterceptor(_shorten(default, margin), _cancel_when_caller_leaves)


def aio_client(*, default: float, margin: float = 0.0) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors for a grpc.aio channel; see `client`."""
    return aio_client_interceptors(_shorten(default, margin))


def cancel_with(context: grpc.ServicerContext, call: Any) -> None:
    """Cancel `call` when the caller of a handler in a thread leaves, or at once if it has left.

    `call` is what `stub.Method.future(...)` or a streaming method returned.
    """
    _cancel_on(context.add_callback, call)


def _shorten(default: float, margin: float) -> Callable[[Any], dict[str, Any]]:
    def change(details: Any) -> dict[str, Any]:
        deadline = _current.get()
        if deadline is not None:
            return {"timeout": deadline.timeout(details.timeout, margin)}
        return {"timeout": default if details.timeout is None else details.timeout}

    return change


def _cancel_when_caller_leaves(call: Any) -> None:
    on_leave = _on_leave.get()
    if on_leave is not None and not call.done():
        _cancel_on(on_leave, call)


def _cancel_on(on_leave: Callable[[Callable[[], None]], bool], call: Any) -> None:
    if not on_leave(call.cancel):
        call.cancel()


class _Deadlines(Layer):
    """Notes the deadline of each call and refuses those that come too late."""

    def __init__(self, cap: float, needs: float) -> None:
        super().__init__()
        self._cap = cap
        self._needs = needs

    def guard(self, method: str, handler: Any) -> Guard | None:
        return self._enter

    def _enter(self, call: Call) -> AbstractContextManager[None]:
        deadline = Deadline.of(call.context, self._cap)
        _current.set(deadline)  # each call runs in a Context of its own
        _on_leave.set(getattr(call.context, "add_callback", None))
        if deadline.remaining() < self._needs:
            text = f"less than {self._needs:g} s left: not enough to do the work"
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        return NOTHING
