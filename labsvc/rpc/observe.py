"""Server interceptors that count what a gRPC server did.

They stand outermost, so that they see the status that leaves the server, whatever
the interceptors behind them make of it. `Lab.serve_grpc` puts one on every server.
Used by notebook 00 and by every notebook that counts calls.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from labsvc.rpc._wraps import around

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
    from types import TracebackType

    Handler = grpc.RpcMethodHandler[Any, Any]

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


class Tally:
    """Counts calls per method and status, and writes one log line per finished call."""

    def __init__(self, log: deque[str]) -> None:
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


class AioObserver(grpc.aio.ServerInterceptor):
    """Counts the calls of a grpc.aio server, except those to the services in `hidden`."""

    def __init__(self, tally: Tally, hidden: Collection[str] = ()) -> None:
        self._watched = _Watched(tally, hidden)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        return self._watched.find(handler_call_details.method, handler)


class SyncObserver(grpc.ServerInterceptor):
    """Counts the calls of a thread-pool server, except those to the services in `hidden`."""

    def __init__(self, tally: Tally, hidden: Collection[str] = ()) -> None:
        self._watched = _Watched(tally, hidden)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of one call."""
        handler = continuation(handler_call_details)
        return self._watched.find(handler_call_details.method, handler)


class _Watched:
    """The handlers of a server, each wrapped so that its calls are counted."""

    def __init__(self, tally: Tally, hidden: Collection[str]) -> None:
        self._tally = tally
        self._hidden = tuple(f"/{service}/" for service in hidden)
        self._wraps = around(self._around)

    def find(self, method: str, handler: Handler | None) -> Handler | None:
        """Return the handler to use for a call; count a call of a method that does not exist."""
        if handler is None:
            self._tally.begin(UNKNOWN_METHOD)
            self._tally.end(UNKNOWN_METHOD, "UNIMPLEMENTED")
        wrapped: Handler | None = self._wraps.wrap(method, handler)
        return wrapped

    def _around(self, method: str, handler: Any, behaviour: Any) -> Any:
        if method.startswith(self._hidden):
            return behaviour
        return _watch(self._tally, _short(method), behaviour, streams=handler.response_streaming)


def _short(method: str) -> str:
    """Turn "/labsvc.shop.v1.UserService/GetUser" into "UserService/GetUser"."""
    service, _, name = method.strip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def _watch(tally: Tally, method: str, behaviour: Any, *, streams: bool) -> Any:
    """Wrap a handler in one of its own kind: gRPC asks which kind of function it is."""

    async def coroutine(request: Any, context: Any) -> Any:
        with _AioContext(context, tally, method) as watched:
            return await behaviour(request, watched)

    async def async_generator(request: Any, context: Any) -> AsyncIterator[Any]:
        with _AioContext(context, tally, method) as watched:
            async with aclosing(behaviour(request, watched)) as messages:
                async for message in messages:
                    yield message

    def function(request: Any, context: Any) -> Any:
        with _SyncContext(context, tally, method) as watched:
            return behaviour(request, watched)

    def generator(request: Any, context: Any) -> Iterator[Any]:
        with _SyncContext(context, tally, method) as watched:
            yield from behaviour(request, watched)

    if inspect.iscoroutinefunction(behaviour):
        return coroutine
    if inspect.isasyncgenfunction(behaviour):
        return async_generator
    return generator if streams else function


class _Context:
    """The handler's context, with an eye on the status that the handler decides."""

    __slots__ = ("_aborted", "_code", "_context", "_counted", "_method", "_tally")

    def __init__(self, context: Any, tally: Tally, method: str) -> None:
        self._context = context
        self._tally = tally
        self._method = method
        self._code: Any = None
        self._aborted = False
        self._counted = False
        tally.begin(method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_code(self, code: Any) -> None:
        self._code = code
        self._context.set_code(code)

    def __enter__(self) -> Self:
        return self

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
            self._count("CANCELLED")
        else:
            self._count("UNKNOWN", None if self._aborted else error)

    def _abort(self, code: Any) -> None:
        self._code = code
        self._aborted = True

    def _count(self, default: str, error: BaseException | None = None) -> None:
        if self._counted:
            return
        self._counted = True
        code = default if self._code is None else getattr(self._code, "name", str(self._code))
        self._tally.end(self._method, code, error)

    def _client_waits(self) -> bool:
        return True


class _AioContext(_Context):
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


class _SyncContext(_Context):
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
