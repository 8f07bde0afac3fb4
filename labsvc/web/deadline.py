"""Bound a whole exchange over HTTP: connection, request, headers and body.

A timeout of httpx2 is for one operation. Each byte that arrives starts it anew, so a body that
drips outlives it (claim C08, notebook 30). These transports give the exchange a deadline. In a
`within` block, all exchanges share one more:

    with within(0.5):
        price = http.get("/price")
        stock = http.get("/stock")  # gets what the first one has left

The block's deadline is in a context variable, which follows `await`, `asyncio.create_task` and
`asyncio.to_thread`. A gRPC handler passes its own on with `labsvc.rpc.deadline.current()`:
`within(current().remaining())`.

With asyncio the exchange ends at the deadline. A thread that waits for a socket cannot be
interrupted: there each phase (connection, request, headers, body) gets what is left when it begins,
and the clock is read after each chunk of the body. That body may end one chunk late, and headers
that drip are not bounded.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["AioDeadlineTransport", "DeadlineError", "DeadlineTransport", "within"]

_SHORTEST = 0.001  # seconds; a socket takes 0 for "do not block", which is another error

_current: ContextVar[float | None] = ContextVar("labsvc_web_deadline", default=None)


class DeadlineError(httpx2.TimeoutException):
    """The time for the whole exchange is up."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give all exchanges in the block one deadline; a block inside can only shorten it."""
    outer = _current.get()
    at = time.monotonic() + seconds
    token = _current.set(at if outer is None else min(at, outer))
    try:
        yield
    finally:
        _current.reset(token)


class AioDeadlineTransport(httpx2.AsyncBaseTransport):
    """Ends each exchange of another transport after so many seconds; needs asyncio."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and bound what is still to come of its answer.

        Raises:
            DeadlineError: the time is up.

        """
        clock = _Clock(self._seconds, request)
        response: httpx2.Response = await clock.bound(self._inner.handle_async_request(request))
        response.stream = _AioBody(response.stream, clock)
        return response

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._inner.aclose()


class DeadlineTransport(httpx2.BaseTransport):
    """Does the same for threads, as closely as a blocking client can.

    `tries` is how often the other transport tries to connect: they share the time.
    """

    def __init__(self, inner: httpx2.BaseTransport, seconds: float, tries: int = 1) -> None:
        self._inner = inner
        self._seconds = seconds
        self._tries = tries

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and bound what is still to come of its answer.

        Raises:
            DeadlineError: the time is up.

        """
        clock = _Clock(self._seconds, request)
        timeouts = _Timeouts(request.extensions.get("timeout", {}), clock, self._tries)
        request.extensions = {**request.extensions, "timeout": timeouts}
        with clock.noted():
            response = self._inner.handle_request(request)
        response.stream = _Body(response.stream, clock)
        return response

    def close(self) -> None:
        """Close the other transport."""
        self._inner.close()


class _Clock:
    """The deadline of one exchange."""

    def __init__(self, seconds: float, request: httpx2.Request) -> None:
        outer, at = _current.get(), time.monotonic() + seconds
        self._at = at if outer is None else min(at, outer)
        self._request = request
        if self.left <= 0:
            raise self.error()

    @property
    def left(self) -> float:
        return self._at - time.monotonic()

    def error(self) -> DeadlineError:
        url = self._request.url
        return DeadlineError(f"the time for {url} is up", request=self._request)

    async def bound(self, step: Any) -> Any:
        try:
            async with asyncio.timeout(self.left):
                return await step
        except TimeoutError:
            raise self.error() from None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Say of a timeout that it was the deadline's, if that has passed."""
        try:
            yield
        except httpx2.TimeoutException as error:
            if self.left <= _SHORTEST:
                raise self.error() from error
            raise


class _Timeouts(dict[str, Any]):
    """The timeouts of the phases of one exchange, each no longer than what is left as it begins."""

    def __init__(self, timeouts: dict[str, Any], clock: _Clock, tries: int) -> None:
        super().__init__(timeouts)
        self._clock = clock
        self._tries = tries

    def get(self, phase: str, default: Any = None) -> float:
        """Return the seconds for a phase; httpcore2 asks when the phase begins."""
        left = max(_SHORTEST, self._clock.left)
        if phase == "connect":
            left /= self._tries
        own = super().get(phase, default)
        return left if own is None else min(own, left)


class _AioBody(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, clock: _Clock) -> None:
        self._inner = inner
        self._clock = clock

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        while (chunk := await self._clock.bound(anext(chunks, None))) is not None:
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Body(httpx2.SyncByteStream):
    def __init__(self, inner: Any, clock: _Clock) -> None:
        self._inner = inner
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        with self._clock.noted():
            for chunk in self._inner:
                if self._clock.left <= 0:
                    raise self._clock.error()
                yield chunk

    def close(self) -> None:
        self._inner.close()
