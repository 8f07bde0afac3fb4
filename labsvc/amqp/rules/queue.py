"""A queue: messages in order, and consumers that take turns. No socket, no loop.

Order is by position, a number that a message gets when it is published to the queue. A
message that comes back keeps its position, so it is delivered again before all that were
published after it (RabbitMQ: "requeued to its original position, if possible").

A quorum queue differs as in RabbitMQ 3.10: what comes back goes to the front in the order in
which it comes; with no delivery limit, what a consumer requeues goes to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.backlog import Backlog, Entry
from labsvc.amqp.rules.clock import LoopClock
from labsvc.amqp.rules.consumers import Consumers
from labsvc.amqp.rules.expiry import IdleTimer, TimeToLive
from labsvc.amqp.rules.journal import FORGETFUL
from labsvc.amqp.rules.limits import Limits
from labsvc.amqp.rules.memory import MESSAGE_OVERHEAD, UNLIMITED
from labsvc.amqp.rules.settings import QueueSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.amqp.rules.clock import Clock
    from labsvc.amqp.rules.exchange import Binding
    from labsvc.amqp.rules.journal import Journal
    from labsvc.amqp.rules.memory import Memory
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.rotation import Taker

_DEFAULTS = QueueSettings()
_SYSTEM_CLOCK = LoopClock()


def _nowhere(_message: Message, _reason: str, _queue: Queue) -> None:
    """Dead-letter a message to no exchange."""


def _keep(_queue: Queue) -> None:
    """Leave an expired queue as it is."""


class Queue:
    """The rules of one queue.

    Consumers take turns. One that cannot take a message is parked until `unpark` is
    called, so that a full queue does not ask it again and again. After `requeue`, `add`,
    `remove`, `unpark` and `restore` call `dispatch`.

    Args:
        name: unique in its virtual host.
        settings: what its arguments say.
        vhost: the name of the virtual host, for texts.
        durable: declared so.
        auto_delete: to be deleted when its last consumer has gone.
        owner: the one connection that may use it (an exclusive queue), or None.
        clock: tells the time and calls back.
        journal: is told of the persistent messages that enter and leave.
        memory: counts the bytes of what waits or is unacked.
        dead_letter: called with a message that died here, the reason ("rejected",
            "expired", "maxlen" or "delivery_limit") and this queue. May call this queue.
        expire: called when nobody has used the queue for `settings.expires`: to delete it.

    """

    def __init__(
        self,
        name: str,
        settings: QueueSettings = _DEFAULTS,
        *,
        vhost: str = "/",
        durable: bool = False,
        auto_delete: bool = False,
        owner: object | None = None,
        clock: Clock = _SYSTEM_CLOCK,
        journal: Journal = FORGETFUL,
        memory: Memory = UNLIMITED,
        dead_letter: Callable[[Message, str, Queue], None] = _nowhere,
        expire: Callable[[Queue], None] = _keep,
    ) -> None:
        self.name = name
        self.settings = settings
        self.title = f"queue '{name}' in vhost '{vhost}'"
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.quorum = settings.kind == "quorum"
        self.deleted = False
        self.unacked = 0
        self.consumers = Consumers(settings, self.title)
        self.incoming: set[Binding] = set()  # kept for its virtual host
        self.stored_id = 0  # kept for the store
        self._journal = journal
        self._memory = memory
        self._dead_letter = dead_letter
        self.published = 0  # the last position that was given
        self._returned = 0
        self._backlog = Backlog(settings.max_priority or 0)
        self._limits = Limits(settings, self._backlog)
        self._ttl = TimeToLive(
            settings.message_ttl, self._backlog, clock, self._bury_expired, self.dispatch
        )
        self._idle = IdleTimer(clock, settings.expires, self._ring)
        self._expire = expire
        self._idle.restart()

    def __len__(self) -> int:
        """Return the number of messages that wait to be delivered."""
        return len(self._backlog)

    def waiting(self) -> Iterator[Entry]:
        """Iterate over what waits, in no particular order."""
        return iter(self._backlog)

    # Messages come

    def publish(self, message: Message) -> bool:
        """Append a message and deliver what can be; return False if it is rejected.

        A message that is accepted may still be dropped, if the queue drops its head.
        """
        if self._limits.rejects(message):
            if self.settings.overflow == "reject-publish-dlx":
                self._dead_letter(message, "maxlen", self)
            return False
        self.published += 1
        entry = Entry(message, self.published)
        published = self._ttl.start(entry)
        if message.persistent or self.quorum:
            self._journal.entered(self, entry)
        self._memory.used += len(message.body) + MESSAGE_OVERHEAD
        self._backlog.append(entry)
        if self.consumers:
            self._deliver(published)
        self._drop_head()
        self._ttl.drop()
        return True

    def restore(self, entry: Entry) -> None:
        """Put back a message that outlived the process; oldest first."""
        self.published = max(self.published, entry.position)
        self._memory.used += len(entry.message.body) + MESSAGE_OVERHEAD
        self._backlog.append(entry)

    # Messages go

    def take(self) -> Entry | None:
        """Hand out the first message to basic.get, or None. It is unacked until settled.

        Raises:
            SoftError: 405, a quorum queue with a single active consumer.

        """
        if self.quorum and self.settings.single_active:
            text = (
                f"cannot obtain access to locked {self.title}. basic.get operations are not"
                " supported by quorum queues with single active consumer"
            )
            raise SoftError(ReplyCode.RESOURCE_LOCKED, text)
        self._idle.restart()
        while not self._ttl.drop():
            pass
        if not self._backlog:
            return None
        self.unacked += 1
        entry = self._backlog.pop()
        if self.quorum:
            self._journal.handed_out(self, entry)
        self._ttl.drop()
        return entry

    def settle(self, entry: Entry) -> None:
        """Forget a message that was handed out: it was acked, or needs no ack."""
        self.unacked -= 1
        self._left(entry)

    def reject(self, entry: Entry) -> None:
        """Dead-letter a message that was handed out and is not wanted."""
        self.unacked -= 1
        self._bury(entry, "rejected")

    def requeue(self, entry: Entry, *, lost: bool = False) -> None:
        """Put a message that was handed out back in its place, marked as redelivered.

        Args:
            entry: the message.
            lost: its channel has closed, rather than that it was given back.

        """
        self.unacked -= 1
        entry.redelivered = True
        if self.deleted:
            self._left(entry)
        elif self.quorum:
            self._requeue_counted(entry, lost=lost)
        else:
            self._backlog.put_back(entry, entry.position)
            self._drop_head()

    def _requeue_counted(self, entry: Entry, *, lost: bool) -> None:
        entry.deliveries += 1
        limit = self.settings.delivery_limit
        if limit is not None and entry.deliveries > limit:
            self._bury(entry, "delivery_limit")
            return
        if limit is None and not lost:
            self._backlog.append(entry)
        else:
            self._returned += 1
            self._backlog.put_back(entry, self._returned)
        self._drop_head()

    def purge(self) -> int:
        """Drop the messages that wait; return how many."""
        count = len(self._backlog)
        for entry in self._backlog:
            self._left(entry)
        self._backlog.clear()
        return count

    def delete(self) -> int:
        """End: drop the messages that wait; return how many."""
        self.deleted = True
        self.stop()
        return self.purge()

    def stop(self) -> None:
        """End the timers."""
        self._ttl.stop()
        self._idle.stop()

    def _left(self, entry: Entry) -> None:
        self._memory.used -= len(entry.message.body) + MESSAGE_OVERHEAD
        if entry.message.persistent or self.quorum:
            self._journal.left(self, entry)

    def _bury(self, entry: Entry, reason: str) -> None:
        if not self.deleted:
            self._dead_letter(entry.message, reason, self)
        self._left(entry)

    def _bury_expired(self, entry: Entry) -> None:
        self._bury(entry, "expired")

    def _drop_head(self) -> None:
        while self._limits.too_much():
            self._bury(self._backlog.pop(), "maxlen")

    # Nobody uses it

    def touch(self) -> None:
        """Note that the queue is used: it was declared again."""
        self._idle.restart()

    def _ring(self) -> None:
        if not self.consumers:
            self._expire(self)

    # Consumers

    def add(self, consumer: Taker) -> None:
        """Add a consumer.

        Raises:
            SoftError: 403, it or another consumer asked to be the only one.

        """
        self.consumers.add(consumer)

    def remove(self, consumer: Taker) -> None:
        """Remove a consumer; what it has not acked stays with it."""
        self.consumers.remove(consumer)
        if not self.consumers:
            self._idle.restart()

    def unpark(self, consumer: Taker) -> None:
        """Let a parked consumer take turns again."""
        self.consumers.rotation.add(consumer)

    def dispatch(self) -> None:
        """Deliver what waits to the consumers that want it, in turns."""
        if self._ttl.drop() and self.consumers:
            self._deliver(None)
            self._ttl.drop()

    def _deliver(self, published: float | None) -> None:
        """Deliver while there is a message and somebody who wants it.

        A message with a time to live of 0 may be delivered at once: one that expires at the
        very time of this `published` has not expired yet.
        """
        backlog, rotation = self._backlog, self.consumers.rotation
        while (head := backlog.first()) is not None:
            if self._ttl.is_over(head) and head.expires != published:
                if not self._ttl.drop():
                    return
                continue
            consumer = rotation.next()
            if consumer is None:
                return
            backlog.pop()
            if consumer.no_ack:
                self._left(head)
            else:
                self.unacked += 1
                if self.quorum:
                    self._journal.handed_out(self, head)
            consumer.deliver(head)
