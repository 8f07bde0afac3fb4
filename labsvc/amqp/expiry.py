"""Two timers of a queue: for the message that dies next, and for the queue itself."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.clock import Clock, Timer


class Alarm:
    """Calls `act` at the earliest of the times that were set; then none is set."""

    def __init__(self, clock: Clock, act: Callable[[], None]) -> None:
        self._clock = clock
        self._act = act
        self._when = inf
        self._timer: Timer | None = None

    def set(self, when: float) -> None:
        """Call at a time, in seconds since the epoch, unless an earlier one is set."""
        if when < self._when:
            self.stop()
            self._when = when
            self._timer = self._clock.call_at(when, self._ring)

    def stop(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._when = None, inf

    def _ring(self) -> None:
        self._timer, self._when = None, inf
        self._act()


class IdleTimer:
    """Calls `act` once nothing has happened for a time.

    Args:
        clock: tells the time and calls back.
        limit: the time in milliseconds; None: never call.
        act: what to call.

    """

    def __init__(self, clock: Clock, limit: int | None, act: Callable[[], None]) -> None:
        self._clock = clock
        self._limit = limit
        self._alarm = Alarm(clock, self._ring)
        self._act = act
        self._due = inf

    def restart(self) -> None:
        """Note that something happened. Cheap: a running alarm is left to ring in vain."""
        if self._limit is not None:
            self._due = self._clock.now() + self._limit / 1000
            self._alarm.set(self._due)

    def stop(self) -> None:
        """Do not call."""
        self._alarm.stop()

    def _ring(self) -> None:
        if self._clock.now() < self._due:
            self._alarm.set(self._due)
        else:
            self._act()
