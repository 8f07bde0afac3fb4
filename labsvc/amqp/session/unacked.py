"""What a channel has handed out and not yet heard of."""

from __future__ import annotations

from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.queue import Queue


class Answer(Enum):
    """What a client says of a delivery."""

    ACK = auto()
    REQUEUE = auto()
    REJECT = auto()


class Prefetching(Protocol):
    """A consumer, as far as its prefetch goes: `unacked` is how many messages it holds."""

    unacked: int


class Delivery:
    """A message that was handed out and waits for its ack."""

    __slots__ = ("consumer", "entry", "queue", "tag")

    def __init__(self, tag: int, entry: Entry, queue: Queue, consumer: Prefetching | None) -> None:
        self.tag = tag
        self.entry = entry
        self.queue = queue
        self.consumer = consumer  # None: basic.get, to which prefetch does not apply


class Unacked:
    """The deliveries of one channel that wait for an answer, by delivery tag.

    `prefetched` counts those that prefetch limits. A delivery that is taken out counts on
    until it is released.
    """

    def __init__(self) -> None:
        self.prefetched = 0
        self._last_tag = 0
        self._waiting: dict[int, Delivery] = {}  # oldest first

    def __len__(self) -> int:
        """Return how many deliveries wait."""
        return len(self._waiting)

    def next_tag(self) -> int:
        """Return a tag for a delivery that needs no answer."""
        self._last_tag += 1
        return self._last_tag

    def add(self, entry: Entry, queue: Queue, consumer: Prefetching | None) -> int:
        """Note a delivery; return its tag."""
        tag = self._last_tag = self._last_tag + 1
        self._waiting[tag] = Delivery(tag, entry, queue, consumer)
        if consumer is not None:
            consumer.unacked += 1
            self.prefetched += 1
        return tag

    def take(self, tag: int, *, multiple: bool) -> list[Delivery]:
        """Take out the deliveries that an answer speaks of: one, or all up to a tag (0: all).

        Raises:
            SoftError: 406, there is none.

        """
        waiting = self._waiting
        if not multiple:
            delivery = waiting.pop(tag, None)
            if delivery is not None:
                return [delivery]
        elif not tag:
            return self.take_all()
        else:
            tags = list(takewhile(lambda old: old <= tag, waiting))
            if tags:
                return [waiting.pop(old) for old in tags]
        text = f"unknown delivery tag {tag}"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)

    def take_all(self) -> list[Delivery]:
        """Take out all deliveries."""
        deliveries = list(self._waiting.values())
        self._waiting.clear()
        return deliveries

    def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries that were taken out wait again."""
        both = [*self._waiting.values(), *deliveries]
        self._waiting = {each.tag: each for each in sorted(both, key=lambda each: each.tag)}

    def release(self, delivery: Delivery) -> None:
        """Count a delivery no more: it was answered."""
        if delivery.consumer is not None:
            delivery.consumer.unacked -= 1
            self.prefetched -= 1

    def requeue(self, deliveries: Iterable[Delivery], *, lost: bool = False) -> set[Queue]:
        """Put messages back that were taken out; return their queues, which need a dispatch.

        Args:
            deliveries: what was taken out.
            lost: the channel has ended, rather than that its client gave them back.

        """
        queues = set()
        for delivery in deliveries:
            self.release(delivery)
            delivery.queue.requeue(delivery.entry, lost=lost)
            queues.add(delivery.queue)
        return queues
