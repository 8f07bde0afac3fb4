"""Server interceptors that refuse a call at once when too many run.

A call over a limit ends with RESOURCE_EXHAUSTED, and its handler never ran. (The code alone does
not say so: grpc also uses it for an answer that is too large.) That is better than a queue, in
which calls wait until their callers have given up (notebook 07; claim C61).
`maximum_concurrent_rpcs` of grpcio counts all methods together, health checks too, so that a busy
server looks like a sick one. Here health checks are never counted, and a method can have a limit
of its own:

    ConcurrencyLimit(total=200, methods={"/labsvc.shop.v1.InventoryService/WatchStock": 50})

On a server with threads, a refusal needs a thread for a moment. Keep `total`, or the sum of the
methods' limits, under the number of threads.
"""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc._wraps import Wraps, around

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

_HEALTH = "/grpc.health.v1.Health/"
_REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED


class ConcurrencyLimit(grpc.aio.ServerInterceptor):
    """The limits for grpc.aio.server.

    `total` bounds all calls together, None for no bound; `methods` bounds single methods, by
    their full name. Raises ValueError for a limit under 1.
    """

    def __init__(self, *, total: int | None = None, methods: Mapping[str, int]) -> None:
        self._limits = _limits(_Slots(total, methods))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now refuses what is too much."""
        handler = await continuation(handler_call_details)
        return self._limits.wrap(handler_call_details.method, handler)


class ConcurrencyLimitThreaded(grpc.ServerInterceptor):
    """The limits for grpc.server; the arguments are those of `ConcurrencyLimit`."""

    def __init__(self, *, total: int | None = None, methods: Mapping[str, int]) -> None:
        self._limits = _limits(_Slots(total, methods))

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now refuses what is too much."""
        handler = continuation(handler_call_details)
        return self._limits.wrap(handler_call_details.method, handler)


class _Slots:
    """Counts the handlers that run, in all and by method."""

    def __init__(self, total: int | None, methods: Mapping[str, int]) -> None:
        for limit in (total, *methods.values()):
            if limit is not None and limit < 1:
                msg = f"a limit must be 1 call or more, not {limit!r}"
                raise ValueError(msg)
        self._total = total
        self._methods = dict(methods)
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, method: str) -> Iterator[str]:
        """Hold a place for the block and yield ""; or hold none, and yield what is reached."""
        with self._lock:
            reached = self._reached(method)
            self._running[method] += not reached
        try:
            yield reached
        finally:
            with self._lock:
                self._running[method] -= not reached

    def _reached(self, method: str) -> str:
        limit = self._methods.get(method)
        if limit is not None and self._running[method] >= limit:
            return f"{limit} calls of {method} run already"
        if self._total is not None and self._running.total() >= self._total:
            return f"{self._total} calls run already"
        return ""


def _limits(slots: _Slots) -> Wraps:
    def put(method: str, handler: Any, behaviour: Any) -> Any:
        if method.startswith(_HEALTH):
            return behaviour
        if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
            return _asynchronous(slots, method, behaviour)
        return _threaded(slots, method, behaviour, streams=handler.response_streaming)

    return around(put)


def _asynchronous(slots: _Slots, method: str, behaviour: Any) -> Any:
    """Wrap a handler in one of its own kind: gRPC asks which kind of function it is."""

    async def coroutine(request: Any, context: Any) -> Any:
        with slots.place(method) as reached:
            if reached:
                await context.abort(_REFUSED, reached)
            return await behaviour(request, context)

    async def generator(request: Any, context: Any) -> AsyncIterator[Any]:
        with slots.place(method) as reached:
            if reached:
                await context.abort(_REFUSED, reached)
            async with aclosing(behaviour(request, context)) as messages:
                async for message in messages:
                    yield message

    # A stream may also be a coroutine, which writes to its context.
    return generator if inspect.isasyncgenfunction(behaviour) else coroutine


def _threaded(slots: _Slots, method: str, behaviour: Any, *, streams: bool) -> Any:
    def function(request: Any, context: Any) -> Any:
        with slots.place(method) as reached:
            if reached:
                context.abort(_REFUSED, reached)
            return behaviour(request, context)

    def generator(request: Any, context: Any) -> Iterator[Any]:
        with slots.place(method) as reached:
            if reached:
                context.abort(_REFUSED, reached)
            yield from behaviour(request, context)

    return generator if streams else function
