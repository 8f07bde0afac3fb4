"""Server interceptors that count what a gRPC server did.

They stand outermost, so that they see the status that leaves the server, whatever the interceptors
behind them make of it. `Lab.serve_grpc` puts one on every server. While a timeline is recorded they
note each call on it, as what the server named `Tally.name` does.

`watch` is what they do around one call, for interceptors elsewhere that want to hear of its status.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from labsvc.rpc import _server
from labsvc.rpc._server import Layer
from labsvc.timeline import record
from labsvc.timeline.incoming import Incoming, requests

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection
    from types import TracebackType

    import grpc
    import grpc.aio

    from labsvc.rpc._guard import Call, Guard
    from labsvc.timeline.record import Tape

UNKNOWN_METHOD = "(unknown method)"


@dataclass(frozen=True)
class CallStats:
    """What a server did since it was first started.

    `calls` are counted when they arrive, `codes` when their status is decided: calls
    still under way are the difference. `methods` has "Service/Method" for keys; a
    method that the server lacks counts as "(unknown method)".
    """

    calls: int
    methods: dict[str, int]
    codes: dict[str, int]


class Watcher(Protocol):
    """Who hears of calls, as `Tally` does."""

    def begin(self, method: str) -> None:
        """Hear of a call that arrived."""

    def end(self, method: str, code: str, error: BaseException | None = None) -> None:
        """Hear of its status, once; `error` is one that nobody expected."""


class Tally:
    """Counts calls per method and status, and writes one log line per finished call."""

    def __init__(self, log: deque[str], name: str = "grpc") -> None:
        self.name = name
        self._log = log
        self._lock = threading.Lock()
        self._methods: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()

    def begin(self, method: str) -> None:
        """Count a call that arrived."""
        with self._lock:
            self._methods[method] += 1

    def end(self, method: str, code: str, error: BaseException | None = None) -> None:
        """Count a call whose status is decided; keep the traceback of an unexpected error."""
        with self._lock:
            self._codes[code] += 1
        self._log.append(f"{method} {code}")
        if error is not None:
            self._log.extend("".join(traceback.format_exception(error)).splitlines())

    def snapshot(self) -> CallStats:
        """Return the counts as they are now."""
        with self._lock:
            return CallStats(self._methods.total(), dict(self._methods), dict(self._codes))


def server(tally: Tally, hidden: Collection[str] = ()) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server; calls to the services in `hidden` do not count."""
    return _server.server(_Watched(tally, hidden))


def aio_server(tally: Tally, hidden: Collection[str] = ()) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(_Watched(tally, hidden))


def watch(call: Call, watcher: Watcher, method: str) -> WatchedContext:
    """Put an eye on the call's context, and return what is to stand around its handler.

    The watcher hears of the call now, and of the status that leaves the handler when that is known.
    """
    return (_AioContext if call.asynchronous else _SyncContext)(call, watcher, method)


class _Watched(Layer):
    def __init__(self, tally: Tally, hidden: Collection[str]) -> None:
        super().__init__()
        self._tally = tally
        self._hidden = tuple(f"/{service}/" for service in hidden)

    def find(self, method: str, handler: Any) -> Any:
        if handler is None:
            self._tally.begin(UNKNOWN_METHOD)
            self._tally.end(UNKNOWN_METHOD, "UNIMPLEMENTED")
        return super().find(method, handler)

    def guard(self, method: str, handler: Any) -> Guard | None:
        if method.startswith(self._hidden):
            return None
        streams = handler.response_streaming
        return partial(_watch_and_note, self._tally, _short(method), streams)


def _watch_and_note(tally: Tally, method: str, streams: bool, call: Call) -> WatchedContext:  # noqa: FBT001
    context = watch(call, tally, method)
    if (tape := record.current()) is not None:
        context.note(tape, tally.name, call, streams=streams)
    return context


def _short(method: str) -> str:
    """Turn "/labsvc.shop.v1.UserService/GetUser" into "UserService/GetUser"."""
    service, _, name = method.strip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


class WatchedContext:
    """The handler's context, with an eye on the status that the handler decides."""

    __slots__ = ("_aborted", "_code", "_context", "_counted", "_incoming", "_method", "_watcher")

    def __init__(self, call: Call, watcher: Watcher, method: str) -> None:
        self._context = call.context
        call.context = self
        self._watcher = watcher
        self._method = method
        self._code: Any = None
        self._aborted = False
        self._counted = False
        self._incoming: Incoming | None = None
        watcher.begin(method)

    def note(self, tape: Tape, name: str, call: Call, *, streams: bool) -> None:
        """Note on the tape what becomes of the call at the server of this name."""
        pairs = self._context.invocation_metadata() or ()
        incoming = self._incoming = Incoming(tape, name, self._method, pairs)
        if call.asynchronous or not streams:  # threads take turns at a plain stream of answers
            incoming.act()
        call.on_answer = partial(incoming.message, "sent")
        call.request = requests(call.request, partial(incoming.message, "received"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_code(self, code: Any) -> None:
        """Set it as gRPC's own does."""
        self._code = code
        self._context.set_code(code)

    def __enter__(self) -> None:
        """Count nothing: the call was counted when it came."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if error is None:
            self._count("OK" if self._client_waits() else "CANCELLED")
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._code = None
            self._count("CANCELLED", cancelled=True)
        else:
            self._count("UNKNOWN", None if self._aborted else error)
        if self._incoming is not None:
            self._incoming.done()

    def _abort(self, code: Any) -> None:
        self._code = code
        self._aborted = True

    def _count(
        self, default: str, error: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        if self._counted:
            return
        self._counted = True
        code = default if self._code is None else getattr(self._code, "name", str(self._code))
        self._watcher.end(self._method, code, error)
        if self._incoming is not None:
            self._incoming.left(code, cancelled=cancelled)

    def _client_waits(self) -> bool:
        return True


class _AioContext(WatchedContext):
    """For grpc.aio, where `abort` sends the status before it returns: count first."""

    __slots__ = ()

    async def abort(self, code: Any, *details: Any, **more: Any) -> None:
        self._abort(code)
        self._count("UNKNOWN")
        await self._context.abort(code, *details, **more)

    async def abort_with_status(self, status: Any) -> None:
        self._abort(status.code)
        self._count("UNKNOWN")
        await self._context.abort_with_status(status)


class _SyncContext(WatchedContext):
    """For handlers in a thread pool. They run on when their caller has left."""

    __slots__ = ()

    def abort(self, code: Any, *details: Any, **more: Any) -> None:
        self._abort(code)
        self._context.abort(code, *details, **more)

    def abort_with_status(self, status: Any) -> None:
        self._abort(status.code)
        self._context.abort_with_status(status)

    def _client_waits(self) -> bool:
        # A plain handler on a grpc.aio server gets a context without is_active.
        is_active = getattr(self._context, "is_active", None)
        return is_active is None or bool(is_active())
