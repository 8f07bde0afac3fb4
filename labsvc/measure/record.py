"""One timed call: what every kind of load and comparison is made of."""

from __future__ import annotations

import asyncio
import inspect
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NoReturn

clock = time.perf_counter_ns
"""The one clock of all measuring: monotonic, in nanoseconds."""

ASYNC_HINT = "`await aio_compare(...)`, `aio_closed_loop` or `aio_open_loop`"


class Recorder:
    """Times calls into flat buffers of nanoseconds; quantiles are made of them later.

    A call that raises is counted in `errors` by its label and its time goes to `failed`, never to
    `latency`: a refusal in one millisecond must not look like a fast answer. `service` is filled
    for calls that have an intended start: their latency runs from there, their service time from
    the moment they really began.
    """

    __slots__ = ("errors", "failed", "latency", "service")

    def __init__(self) -> None:
        self.latency = array("q")
        self.service = array("q")
        self.failed = array("q")
        self.errors: Counter[str] = Counter()

    def call(self, fn: Callable[[], object], intended: int | None = None) -> None:
        """Call `fn` and keep its time; `intended` is when it should have started, by `clock`.

        Raises TypeError if `fn` turns out to be asynchronous.
        """
        start = clock()
        try:
            result = fn()
        except Exception as error:  # noqa: BLE001  what fails is counted, not raised
            self._fail(error, start if intended is None else intended)
            return
        self._answer(start, intended, clock())
        if isinstance(result, Awaitable):
            _refuse(result)

    async def call_async(self, fn: Callable[[], object], intended: int | None = None) -> None:
        """Call `fn`, await what it returns if that can be awaited, and keep the time."""
        start = clock()
        try:
            result = fn()
            if isinstance(result, Awaitable):
                await result
        except Exception as error:  # noqa: BLE001  what fails is counted, not raised
            self._fail(error, start if intended is None else intended)
            return
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._fail(error, start if intended is None else intended)
            return
        self._answer(start, intended, clock())

    def _answer(self, start: int, intended: int | None, end: int) -> None:
        if intended is None:
            self.latency.append(end - start)
        else:
            self.latency.append(end - intended)
            self.service.append(end - start)

    def _fail(self, error: BaseException, since: int) -> None:
        self.failed.append(clock() - since)
        self.errors[label(error)] += 1

    def add(self, other: Recorder) -> None:
        """Take over all that `other` recorded."""
        self.latency.extend(other.latency)
        self.service.extend(other.service)
        self.failed.extend(other.failed)
        self.errors.update(other.errors)


def label(error: BaseException) -> str:
    """Name an error for counting: its gRPC status code if it has one, else its class.

    >>> label(ValueError("no"))
    'ValueError'
    """
    code = getattr(error, "code", None)
    name = getattr(code() if callable(code) else None, "name", None)
    return name if isinstance(name, str) else type(error).__name__


def require_sync(name: str, fn: Callable[[], object]) -> None:
    """Raise TypeError if `fn` cannot be called or is a coroutine function."""
    require_callable(name, fn)
    if inspect.iscoroutinefunction(fn):
        msg = f"{name} is a coroutine function: measure it with {ASYNC_HINT}"
        raise TypeError(msg)


def require_callable(name: str, fn: object) -> None:
    """Raise TypeError if `fn` cannot be called."""
    if not callable(fn):
        kind = type(fn).__name__
        msg = f"{name} must be a function without arguments, not {kind}: pass it without calling it"
        raise TypeError(msg)


def require_count(name: str, value: int, least: int, why: str = "") -> None:
    """Raise TypeError or ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a whole number, not {value!r}: give it as an int"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, not {value}: raise it{why}"
        raise ValueError(msg)


def _refuse(result: Awaitable[object]) -> NoReturn:
    if inspect.iscoroutine(result):
        result.close()
    msg = f"the function returned an awaitable, so no call was made: measure it with {ASYNC_HINT}"
    raise TypeError(msg)
