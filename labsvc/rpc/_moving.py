"""Calls that start again on another backend as long as nothing has left this process.

The part of `labsvc.rpc.balance` that makes the calls. A blocking unary call is a loop. What runs
on after it was started, a future or a stream, is a `_MovingCall`, which stands for the call on
whichever backend it is now.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from labsvc.rpc.errors import never_sent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_KEPT = 10
"""So many requests of a stream are kept, to be sent to another backend instead."""


class _Backend(Protocol):
    @property
    def address(self) -> str: ...
    def callable(self, method: tuple[Any, ...]) -> Any: ...


class _Pool(Protocol):
    def take(self, tried: Collection[Any] = ()) -> Any: ...
    def give_back(self, backend: Any, code: grpc.StatusCode | None) -> None: ...


class MultiCallable:
    """One method with one answer, on any backend of `pool`."""

    def __init__(self, pool: _Pool, method: tuple[Any, ...]) -> None:
        self._pool = pool
        self._method = method
        self._streams = method[0] == "stream_unary"

    def __call__(self, request: Any, timeout: float | None = None, *more: Any, **how: Any) -> Any:
        """Make the call and return its answer."""
        if self._streams:
            return self.future(request, timeout, *more, **how).result()
        return self._run("__call__", request, timeout, *more, **how)

    def with_call(self, request: Any, timeout: float | None = None, *more: Any, **how: Any) -> Any:
        """Make the call and return its answer and the grpc.Call."""
        if self._streams:
            call = self.future(request, timeout, *more, **how)
            return call.result(), call
        return self._run("with_call", request, timeout, *more, **how)

    def future(self, request: Any, timeout: float | None = None, *more: Any, **how: Any) -> Any:
        """Start the call and return it."""
        requests = _Requests(request) if self._streams else None

        def start(backend: _Backend, left: float | None) -> Any:
            what = requests.replay() if requests else request
            return backend.callable(self._method).future(what, left, *more, **how)

        return _MovingCall(self._pool, start, timeout, requests)

    def _run(self, way: str, request: Any, timeout: float | None, *more: Any, **how: Any) -> Any:
        tried: list[_Backend] = []
        backend, left = self._pool.take(), timeout
        started = time.monotonic()
        while True:
            code = None
            try:
                return getattr(backend.callable(self._method), way)(request, left, *more, **how)
            except grpc.RpcError as error:
                code = error.code()
                tried.append(backend)
                other = self._pool.take(tried) if never_sent(error, backend.address) else None
                if other is None:
                    raise
            finally:
                self._pool.give_back(backend, code)
            backend, left = other, _left(timeout, started)


class StreamingMultiCallable:
    """One method with many answers, on any backend of `pool`."""

    def __init__(self, pool: _Pool, method: tuple[Any, ...]) -> None:
        self._pool = pool
        self._method = method
        self._streams = method[0] == "stream_stream"

    def __call__(self, request: Any, timeout: float | None = None, *more: Any, **how: Any) -> Any:
        """Start the call and return the iterator over its answers."""
        requests = _Requests(request) if self._streams else None

        def start(backend: _Backend, left: float | None) -> Any:
            what = requests.replay() if requests else request
            return backend.callable(self._method)(what, left, *more, **how)

        return _MovingCall(self._pool, start, timeout, requests)


class _Requests:
    """The requests of a stream, for one call after the other; the first `_KEPT` can be had again.

    Of a call that has failed, gRPC's thread may still wait for the next request; it is kept then.
    """

    def __init__(self, source: Any) -> None:
        self._source = iter(source)
        self._lock = threading.Lock()
        self._kept: list[Any] = []
        self.lost = False

    def replay(self) -> Iterator[Any]:
        for number in range(_KEPT):
            with self._lock:
                if number == len(self._kept):
                    try:
                        self._kept.append(next(self._source))
                    except StopIteration:
                        return
                request = self._kept[number]
            yield request
        self.lost = True
        yield from self._source


class _MovingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call under way. Whatever is asked of it waits for the backend on which it stays.

    It must not be held by its own callbacks: gRPC cancels a call that the program has dropped.
    """

    def __init__(
        self,
        pool: _Pool,
        start: Callable[[_Backend, float | None], Any],
        timeout: float | None,
        requests: _Requests | None,
    ) -> None:
        self._pool = pool
        self._start = start
        self._timeout = timeout
        self._started = time.monotonic()
        self._requests = requests
        self._lock = threading.RLock()
        self._cancelled = False
        self._end: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._tried: list[_Backend] = []
        self._calls: list[Any] = []
        self._start_on(pool.take())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._ask(next)

    def result(self, timeout: float | None = None) -> Any:
        """Return the answer; see grpc.Future. The timeout counts for each backend."""
        return self._ask(lambda call: call.result(timeout))

    def exception(self, timeout: float | None = None) -> Any:
        return self._ask(lambda call: call.exception(timeout))

    def traceback(self, timeout: float | None = None) -> Any:
        return self._ask(lambda call: call.traceback(timeout))

    def initial_metadata(self) -> Any:
        return self._ask(lambda call: call.initial_metadata())

    def trailing_metadata(self) -> Any:
        return self._ask(lambda call: call.trailing_metadata())

    def code(self) -> Any:
        return self._ask(lambda call: call.code())

    def details(self) -> Any:
        return self._ask(lambda call: call.details())

    def is_active(self) -> bool:
        return bool(self._ask(lambda call: call.is_active()))

    def time_remaining(self) -> Any:
        return self._ask(lambda call: call.time_remaining())

    def running(self) -> bool:
        return bool(self._ask(lambda call: call.running()))

    def done(self) -> bool:
        return bool(self._ask(lambda call: call.done()))

    def cancelled(self) -> bool:
        return bool(self._ask(lambda call: call.cancelled()))

    def cancel(self) -> bool:
        with self._lock:
            self._cancelled = True
            return bool(self._calls[-1].cancel())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self._end.done():
            return False
        self._end.add_done_callback(lambda _: callback())
        return True

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._end.add_done_callback(lambda _: fn(self))

    def _start_on(self, backend: _Backend) -> None:
        self._tried.append(backend)
        attempt = len(self._tried)
        try:
            self._calls.append(self._start(backend, _left(self._timeout, self._started)))
        except BaseException:
            self._pool.give_back(backend, None)
            raise
        this, end, pool = weakref.ref(self), self._end, self._pool

        def ended() -> None:
            call = this()
            pool.give_back(backend, None if call is None else call._calls[attempt - 1].code())  # noqa: SLF001
            if call is None or not call._moved(attempt):  # noqa: SLF001
                end.set_result(None)

        if not self._calls[-1].add_callback(ended):
            ended()

    def _moved(self, attempt: int) -> bool:
        """Go on to another backend if try number `attempt` has ended without being sent."""
        with self._lock:
            if attempt != len(self._calls):
                return True
            if (
                self._cancelled
                or self._calls[-1].is_active()
                or (self._requests and self._requests.lost)
                or not never_sent(self._calls[-1], self._tried[-1].address)
            ):
                return False
            other = self._pool.take(self._tried)
            if other is None:
                return False
            self._start_on(other)
            return True

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        while True:
            with self._lock:
                attempt, call = len(self._calls), self._calls[-1]
            try:
                answer = question(call)
            except grpc.RpcError:
                if not self._moved(attempt):
                    raise
            else:
                if not self._moved(attempt):
                    return answer


def _left(timeout: float | None, started: float) -> float | None:
    return None if timeout is None else timeout - (time.monotonic() - started)
