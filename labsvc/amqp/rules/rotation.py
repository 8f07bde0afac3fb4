"""Whose turn it is: the consumers of a queue that may be asked to take a message."""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Entry


class Taker(Protocol):
    """A consumer as its queue sees it. `parked` is kept for the queue."""

    parked: bool
    exclusive: bool
    no_ack: bool
    priority: int

    def wants(self) -> bool:
        """Whether it can take a message now: prefetch not used up, socket not full."""

    def deliver(self, entry: Entry) -> None:
        """Take the message. Must not call the queue."""


class Rotation:
    """Consumers by priority, highest first; those of one priority take turns.

    A consumer that cannot take a message is parked: it is left out until it is added again,
    so that a full queue does not ask it over and over.
    """

    def __init__(self) -> None:
        self._rounds: dict[int, deque[Taker]] = {}
        self._priorities: list[int] = []  # highest first

    def add(self, consumer: Taker) -> None:
        """Add a consumer behind the others of its priority."""
        consumer.parked = False
        priority = consumer.priority
        if priority not in self._rounds:
            self._rounds[priority] = deque()
            insort(self._priorities, priority, key=lambda value: -value)
        self._rounds[priority].append(consumer)

    def discard(self, consumer: Taker) -> None:
        """Remove a consumer, if it is here."""
        round_ = self._rounds.get(consumer.priority)
        if round_ is None:
            return
        if consumer in round_:
            round_.remove(consumer)
        if not round_:
            del self._rounds[consumer.priority]
            self._priorities.remove(consumer.priority)

    def next(self) -> Taker | None:
        """Return the consumer that is to take the next message, or None; park who cannot."""
        for priority in self._priorities:
            round_ = self._rounds[priority]
            while round_:
                consumer = round_[0]
                if consumer.wants():
                    round_.rotate(-1)
                    return consumer
                consumer.parked = True
                round_.popleft()
        return None
