"""A channel: its state, and what the methods do with it.

AMQP 0-9-1, section 1.4 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pamqp import frame

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.memory import Publishing
from labsvc.amqp.session.assembly import Assembly
from labsvc.amqp.session.confirms import Confirms
from labsvc.amqp.session.unacked import Unacked
from labsvc.amqp.wire import frames
from labsvc.timeline import record

if TYPE_CHECKING:
    from pamqp.base import Frame

    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.rules.traced import Role
    from labsvc.amqp.rules.vhost import VHost
    from labsvc.amqp.session.consumer import Consumer
    from labsvc.amqp.session.transaction import Transaction
    from labsvc.timeline.record import Kind


class Link(Publishing, Protocol):
    """A connection as its channels see it.

    `user` has logged in. `frame_max` is the largest frame to send, in bytes. `index` is the
    method at hand, class (upper 16 bits) and method. `role` is what the client did first.
    """

    user: str
    frame_max: int
    index: int
    role: Role

    @property
    def client_name(self) -> str:
        """What the client calls itself, "" for nothing."""

    @property
    def wants_cancel_notify(self) -> bool:
        """Whether the client wants to hear of consumers that the broker ends."""

    def send(self, data: bytes) -> None:
        """Write at the end of this turn."""

    def writable(self) -> bool:
        """Whether a delivery may be sent now. If not, the channel is woken when it may."""

    def confirm_soon(self, channel: Channel) -> None:
        """Call `send_confirms` of a channel at the end of this turn."""

    def turn_ends(self) -> None:
        """Send the confirms now: something else comes behind them."""


class Channel:
    """One open channel of a connection.

    `prefetch` is how many messages its consumers together may have unacked (0: any
    number), `consumer_prefetch` how many each new consumer may. `last_queue` is the name
    that an empty name stands for. `transaction` is there after tx.select. `closing`:
    channel.close was sent; all but its answer is dropped.
    """

    def __init__(self, connection: Link, vhost: VHost, number: int) -> None:
        self.connection = connection
        self.vhost = vhost
        self.number = number
        self.closing = False
        self.prefetch = 0
        self.consumer_prefetch = 0
        self.last_queue = ""
        self.assembly = Assembly()
        self.confirms = Confirms()
        self.transaction: Transaction | None = None
        self.unacked = Unacked()
        self.consumers: dict[str, Consumer] = {}
        self._named_tags = 0

    # What the connection calls

    def wake(self) -> None:
        """Let the consumers that were parked take turns again, where they can."""
        for consumer in self.consumers.values():
            if consumer.parked and consumer.wants():
                consumer.queue.unpark(consumer)
                consumer.queue.dispatch()

    def leave(self) -> None:
        """End all consumers."""
        for consumer in list(self.consumers.values()):
            self.end(consumer)

    def give_back(self) -> set[Queue]:
        """Requeue what is unacked; return the queues, which need a dispatch."""
        if self.transaction is not None:
            self.unacked.put_back(self.transaction.roll_back())
        deliveries = self.unacked.take_all()
        for delivery in deliveries:
            if not delivery.queue.deleted:  # else the message is gone with it
                message, queue = delivery.entry.message, delivery.queue.name
                self.note("requeued", message, queue, "connection lost")
        return self.unacked.requeue(deliveries, lost=True)

    def send_confirms(self) -> None:
        """Answer everything that was published so far."""
        answers, confirmed = self.confirms.answer(self.number)
        self.vhost.counters.confirmed += confirmed
        for message, taken in self.confirms.noted():
            self.note("confirmed" if taken else "rejected", message)
        for answer in answers:
            self.connection.send(answer)

    # What its methods call

    def acts(self, role: Role) -> None:
        """Remember what the client did first: a timeline calls it so."""
        if not self.connection.role:
            self.connection.role = role

    def note(self, kind: Kind, message: Message, queue: str = "", detail: str = "") -> None:
        """Note on a timeline what happened between a message and this client."""
        self.vhost.traced.note(kind, message, queue, self.connection, detail)

    def delivered(self, entry: Entry, queue: Queue) -> None:
        """Count a message that goes to the client."""
        self.vhost.counters.handed_out(redelivered=entry.redelivered)
        if record.current() is not None:  # asked here, since it is the path of each message
            again = "redelivered" if entry.redelivered else ""
            self.note("delivered", entry.message, queue.name, again)

    def reply(self, method: Frame, *, nowait: bool = False) -> None:
        """Send a method, unless the client asked for no answer."""
        if not nowait:
            self.connection.send(frame.marshal(method, self.number))

    def send_content(self, method: bytes, message: Message) -> None:
        """Send a method (its payload) and the message it carries."""
        connection, number = self.connection, self.number
        connection.send(frames.frame(frames.METHOD, number, method))
        connection.send(frames.content(number, message.header, message.body, connection.frame_max))

    def queue(self, name: str) -> Queue:
        """Return a queue; an empty name means the one declared last on this channel.

        Raises:
            SoftError: 404, there is none; 405, it is exclusive to another connection.

        """
        if not name and not self.last_queue:
            text = "no previously declared queue"
            raise SoftError(ReplyCode.NOT_FOUND, text)
        return self.vhost.queue(name or self.last_queue, self.connection)

    def new_tag(self) -> str:
        """Return a tag for a consumer that the client gave none."""
        self._named_tags += 1
        return f"amq.ctag-{self.number}.{self._named_tags}"

    def end(self, consumer: Consumer) -> None:
        """End a consumer; what it has not acked stays with it."""
        queue = consumer.queue
        del self.consumers[consumer.tag]
        queue.remove(consumer)
        if queue.auto_delete and not queue.consumers:
            self.vhost.delete_queue(queue)
        else:
            queue.dispatch()
