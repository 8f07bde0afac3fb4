"""A queue: messages in order, and consumers that take turns. No socket, no clock.

Order is by position, a number that a message gets when it is published to the queue. A
message that comes back keeps its position, so it is delivered again before all that were
published after it (RabbitMQ: "requeued to its original position, if possible").
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from labsvc.amqp.message import Message


class Entry:
    """A message in one queue: its position there, and whether it was delivered before."""

    __slots__ = ("message", "position", "redelivered")

    def __init__(self, message: Message, position: int) -> None:
        self.message = message
        self.position = position
        self.redelivered = False


class Taker(Protocol):
    """A consumer as its queue sees it. `parked` and `exclusive` are kept for the queue."""

    parked: bool
    exclusive: bool
    no_ack: bool

    def wants(self) -> bool:
        """Whether it can take a message now: prefetch not used up, socket not full."""

    def deliver(self, entry: Entry) -> None:
        """Take the message. Must not call the queue."""


class Queue:
    """The rules of one queue.

    Consumers take turns. One that cannot take a message is parked until `unpark` is
    called, so that a full queue does not ask it again and again. After `push`, `requeue`,
    `add` and `unpark` call `dispatch`.

    Args:
        name: unique in its virtual host.
        durable: declared so.
        auto_delete: to be deleted when its last consumer has gone.
        owner: the one connection that may use it (an exclusive queue), or None.

    """

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        owner: object | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.deleted = False
        self.unacked = 0
        self.consumers: list[Taker] = []
        self.bindings: set[tuple[str, str]] = set()  # (exchange, routing key), for deletion
        self._published = 0
        self._fresh: deque[Entry] = deque()  # never delivered, in order
        self._returned: list[tuple[int, Entry]] = []  # a heap; all before the fresh ones
        self._turns: deque[Taker] = deque()  # consumers that are not parked

    def __len__(self) -> int:
        """Return the number of messages that wait to be delivered."""
        return len(self._fresh) + len(self._returned)

    def push(self, message: Message) -> None:
        """Append a message."""
        self._published += 1
        self._fresh.append(Entry(message, self._published))

    def take(self) -> Entry | None:
        """Hand out the first message, or None. It counts as unacked until it is settled."""
        if self._returned:
            entry = heappop(self._returned)[1]
        elif self._fresh:
            entry = self._fresh.popleft()
        else:
            return None
        self.unacked += 1
        return entry

    def settle(self) -> None:
        """Forget one message that was handed out: acked, or dropped by its consumer."""
        self.unacked -= 1

    def requeue(self, entry: Entry) -> None:
        """Put a message that was handed out back in its place, marked as redelivered."""
        self.unacked -= 1
        entry.redelivered = True
        if not self.deleted:
            heappush(self._returned, (entry.position, entry))

    def purge(self) -> int:
        """Drop the messages that wait; return how many."""
        count = len(self)
        self._fresh.clear()
        self._returned.clear()
        return count

    def add(self, consumer: Taker) -> None:
        """Add a consumer.

        Raises:
            SoftError: 403, it or another consumer asked to be the only one.

        """
        if self.consumers and (consumer.exclusive or self.consumers[0].exclusive):
            text = f"queue '{self.name}' in vhost '/' in exclusive use"
            raise SoftError(ReplyCode.ACCESS_REFUSED, text)
        consumer.parked = False
        self.consumers.append(consumer)
        self._turns.append(consumer)

    def remove(self, consumer: Taker) -> None:
        """Remove a consumer; what it has not acked stays with it."""
        self.consumers.remove(consumer)
        if not consumer.parked:
            self._turns.remove(consumer)

    def unpark(self, consumer: Taker) -> None:
        """Let a parked consumer take turns again."""
        consumer.parked = False
        self._turns.append(consumer)

    def dispatch(self) -> None:
        """Deliver what waits to the consumers that want it, in turns."""
        turns = self._turns
        while turns and (self._returned or self._fresh):
            consumer = turns.popleft()
            if not consumer.wants():
                consumer.parked = True
                continue
            turns.append(consumer)
            entry = self.take()
            assert entry is not None
            if consumer.no_ack:
                self.unacked -= 1
            consumer.deliver(entry)
