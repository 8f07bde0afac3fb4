"""A circuit breaker: stop calling what does not answer, and ask again now and then.

    breaker = CircuitBreaker(failures=5, pause=2.0)
    with breaker.guard():
        reply = stub.GetUser(request, timeout=1)  # or `await` it, or read a stream

A dead server costs each caller its whole deadline, and a sick one gets no rest. Behind an open
breaker a call fails at once and sends nothing. Keep one for each service that is called.
States and names follow Nygard, "Release It!". Notebook 26.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import grpc

from labsvc.rpc.errors import DEFINITE, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    State = Literal["closed", "open", "half-open"]


class CircuitOpenError(grpc.RpcError):
    """The breaker is open: the call was not made. Not the caller's fault; try again later.

    It has the code UNAVAILABLE, so that a caller who knows what to do without the service does it.
    Unlike other UNAVAILABLE it is definite.
    """

    def code(self) -> grpc.StatusCode:
        """Return UNAVAILABLE."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return why no call was made."""
        return str(self)


class CircuitBreaker:
    """Opens after `failures` failed calls in a row; after `pause` seconds lets one call try.

    That one closes it again, or opens it for another pause. What counts is whether the server is
    well, not whether the caller is happy:

        a failure    UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN and
                     DATA_LOSS: the indefinite codes but one
        a success    OK, and every definite code: a server that says NOT_FOUND is alive
        neither      CANCELLED, which the caller did; an exception that is no RpcError

    Safe to share between threads and tasks.

    `now` is a clock in seconds. Raises ValueError for fewer than one failure or no pause.
    """

    def __init__(
        self, failures: int = 5, pause: float = 1.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        if failures < 1 or pause <= 0:
            msg = f"failures must be 1 or more and pause over 0, not {failures} and {pause}"
            raise ValueError(msg)
        self._failures = failures
        self._pause = pause
        self._now = now
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Where the breaker stands: closed, open, or half-open when a call may try."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "open" if self._waits() else "half-open"

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Make one call inside of this block.

        Raises:
            CircuitOpenError: the breaker is open; the block did not run.

        """
        probe = self._enter()
        try:
            yield
        except BaseException as error:
            self._leave(probe, _failed(error))
            raise
        self._leave(probe, failed=False)

    def _waits(self) -> bool:
        return self._opened_at is not None and self._now() < self._opened_at + self._pause

    def _enter(self) -> bool:
        """Let a call through; return whether it is the one that tries an open breaker."""
        with self._lock:
            if self._opened_at is None:
                return False
            if self._probing or self._waits():
                msg = "the circuit breaker is open: the last calls failed, and this was not made"
                raise CircuitOpenError(msg)
            self._probing = True
            return True

    def _leave(self, probe: bool, failed: bool | None) -> None:  # noqa: FBT001
        with self._lock:
            if probe:
                self._probing = False
            if failed is None or (self._opened_at is not None and not probe):
                return  # it says nothing, or started before the breaker opened
            if not failed:
                self._in_a_row = 0
                self._opened_at = None
                return
            self._in_a_row += 1
            if probe or self._in_a_row >= self._failures:
                self._opened_at = self._now()


def _failed(error: BaseException) -> bool | None:
    if not isinstance(error, grpc.RpcError) or not callable(getattr(error, "code", None)):
        return None
    code = StatusError.of(error).code
    return None if code is grpc.StatusCode.CANCELLED else code not in DEFINITE
