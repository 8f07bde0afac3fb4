"""What the tests of the rules share: consumers, a clock and a journal that are moved by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

from labsvc.amqp.rules.journal import Journal
from labsvc.amqp.rules.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.queue import Queue


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def message(text: str) -> Message:
    """Return a message whose body is the text."""
    return Message(b"\0\0", b"", text.encode())


class FakeConsumer:
    """A consumer that takes up to `limit` messages before it wants an answer."""

    def __init__(self, limit: int, *, exclusive: bool = False, priority: int = 0) -> None:
        self.parked = False
        self.exclusive = exclusive
        self.no_ack = False
        self.priority = priority
        self.limit = limit
        self.held: list[Entry] = []
        self.deliver: Callable[[Entry], None] = self.held.append

    def wants(self) -> bool:
        """Whether the limit leaves room."""
        return len(self.held) < self.limit


class FakeClock:
    """A clock that is moved by hand, with its timers."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[FakeTimer] = []

    def now(self) -> float:
        """Return the time."""
        return self.time

    def call_at(self, when: float, act: Callable[[], None]) -> FakeTimer:
        """Call `act` when the clock gets there."""
        timer = FakeTimer(when, act, self.timers)
        self.timers.append(timer)
        return timer

    def advance(self, milliseconds: int) -> None:
        """Move on, and call what is due."""
        self.time += milliseconds / 1000
        while due := [timer for timer in self.timers if timer.when <= self.time]:
            first = min(due, key=lambda timer: timer.when)
            first.cancel()
            first.act()


class FakeTimer:
    """A call that is due at a time."""

    def __init__(self, when: float, act: Callable[[], None], timers: list[FakeTimer]) -> None:
        self.when = when
        self.act = act
        self.timers = timers

    def cancel(self) -> None:
        """Do not call."""
        if self in self.timers:
            self.timers.remove(self)


class FakeJournal(Journal):
    """Knows which messages are in the queue: the positions that entered and did not leave."""

    def __init__(self) -> None:
        self.positions: set[int] = set()

    def entered(self, _queue: Queue, entry: Entry) -> None:
        """Note a message."""
        assert entry.position not in self.positions
        self.positions.add(entry.position)

    def left(self, _queue: Queue, entry: Entry) -> None:
        """Forget a message."""
        self.positions.remove(entry.position)
