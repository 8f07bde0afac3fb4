"""Server interceptors that refuse a call at once when too many run.

A call over a limit ends with RESOURCE_EXHAUSTED, and its handler never ran. (The code alone does
not say so: grpc also uses it for an answer that is too large.) That is better than a queue, in
which calls wait until their callers have given up (notebook 28; claim C61).
`maximum_concurrent_rpcs` of grpcio counts all methods together, health checks too, so that a busy
server looks like a sick one. Here health checks are never counted, and a method can have a limit
of its own:

    concurrency.aio_server(total=200, methods={"/labsvc.shop.v1.InventoryService/WatchStock": 50})

On a server with threads, a refusal needs a thread for a moment. Keep `total`, or the sum of the
methods' limits, under the number of threads.
"""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc import _server
from labsvc.rpc._guard import Refused
from labsvc.rpc._server import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.rpc._guard import Call, Guard

_HEALTH = "/grpc.health.v1.Health/"


def server(*, total: int | None = None, methods: Mapping[str, int]) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server.

    Args:
        total: how many calls may run at once in all; None for no bound.
        methods: how many of single methods, by their full name.

    Raises ValueError for a limit under 1.

    """
    return _server.server(_Limits(total, methods))


def aio_server(
    *, total: int | None = None, methods: Mapping[str, int]
) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(_Limits(total, methods))


class _Limits(Layer):
    """Counts the handlers that run, in all and by method."""

    def __init__(self, total: int | None, methods: Mapping[str, int]) -> None:
        super().__init__()
        for limit in (total, *methods.values()):
            if limit is not None and limit < 1:
                msg = f"a limit must be 1 call or more, not {limit!r}"
                raise ValueError(msg)
        self._total = total
        self._methods = dict(methods)
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def guard(self, method: str, handler: Any) -> Guard | None:
        return None if method.startswith(_HEALTH) else partial(self._enter, method)

    def _enter(self, method: str, _: Call) -> _Place:
        with self._lock:
            if reached := self._reached(method):
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reached)
            self._running[method] += 1
        return _Place(self, method)

    def leave(self, method: str) -> None:
        with self._lock:
            self._running[method] -= 1

    def _reached(self, method: str) -> str:
        limit = self._methods.get(method)
        if limit is not None and self._running[method] >= limit:
            return f"{limit} calls of {method} run already"
        if self._total is not None and self._running.total() >= self._total:
            return f"{self._total} calls run already"
        return ""


class _Place:
    """Held while a handler runs."""

    __slots__ = ("_limits", "_method")

    def __init__(self, limits: _Limits, method: str) -> None:
        self._limits = limits
        self._method = method

    def __enter__(self) -> None:
        """Hold the place that was taken."""

    def __exit__(self, *_: object) -> None:
        self._limits.leave(self._method)
