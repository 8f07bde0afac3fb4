"""What ends by itself: messages that have waited too long, queues that nobody uses."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.rules.backlog import Backlog, Entry
    from labsvc.amqp.rules.clock import Clock, Timer

EXPIRE_AT_ONCE = 1000  # messages; then other work of the loop has its turn


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


class TimeToLive:
    """Drops what has expired. Only the message that is next can expire, as in RabbitMQ.

    Args:
        limit: the time to live of all messages, in milliseconds; None: each its own, if any.
        backlog: what waits.
        clock: tells the time and calls back.
        bury: takes a message that has expired, out of the backlog.
        act: called when the next one expires, and when there is more to drop.

    """

    def __init__(
        self,
        limit: int | None,
        backlog: Backlog,
        clock: Clock,
        bury: Callable[[Entry], None],
        act: Callable[[], None],
    ) -> None:
        self._limit = limit
        self._backlog = backlog
        self._clock = clock
        self._bury = bury
        self._alarm = Alarm(clock, act)

    def start(self, entry: Entry) -> float | None:
        """Note when a new message dies; return the time, or None if it lives forever."""
        limit, own = self._limit, entry.message.expiration
        if limit is None and own is None:
            return None
        now = self._clock.now()
        entry.expires = now + min(value for value in (limit, own) if value is not None) / 1000
        return now

    def is_over(self, entry: Entry) -> bool:
        """Return whether a message has expired."""
        return entry.expires is not None and entry.expires <= self._clock.now()

    def drop(self) -> bool:
        """Drop what has expired, but not too much at once; return whether that was all."""
        head = self._backlog.first()
        if head is None or head.expires is None:
            return True
        now = self._clock.now()
        for _ in range(EXPIRE_AT_ONCE):
            if head is None or head.expires is None:
                return True
            if head.expires > now:
                self._alarm.set(head.expires)
                return True
            self._bury(self._backlog.pop())
            head = self._backlog.first()
        self._alarm.set(now)
        return False

    def stop(self) -> None:
        """End the timer."""
        self._alarm.stop()
