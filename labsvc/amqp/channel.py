"""A channel: its state, and which module has the methods that change it.

AMQP 0-9-1, section 1.4 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamqp import commands, frame

from labsvc.amqp import answering, consuming, declaring, tx, wire
from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.fields import decode_method
from labsvc.amqp.publishing import PUBLISH_INDEX, Publisher
from labsvc.amqp.unacked import Unacked

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.connection import Connection
    from labsvc.amqp.consumer import Consumer
    from labsvc.amqp.message import Message
    from labsvc.amqp.queue import Queue
    from labsvc.amqp.vhost import VHost


class Channel:
    """One open channel of a connection.

    `prefetch` is how many messages its consumers together may have unacked (0: any
    number), `consumer_prefetch` how many each new consumer may. `last_queue` is the name
    that an empty name stands for. `transaction` is there after tx.select. `closing`:
    channel.close was sent; all but its answer is dropped.
    """

    def __init__(self, connection: Connection, vhost: VHost, number: int) -> None:
        self.connection = connection
        self.vhost = vhost
        self.number = number
        self.closing = False
        self.prefetch = 0
        self.consumer_prefetch = 0
        self.last_queue = ""
        self.publisher = Publisher(self)
        self.transaction: tx.Transaction | None = None
        self.unacked = Unacked()
        self.consumers: dict[str, Consumer] = {}
        self._named_tags = 0

    # What the connection calls

    def method(self, index: int, payload: bytes) -> None:
        """Handle a method frame.

        Raises:
            SoftError: the client broke a rule; close the channel.
            HardError: the client broke a rule; close the connection.

        """
        if self.publisher.due:
            self.connection.index = PUBLISH_INDEX  # whose content is due
            text = "expected content for class 60, got a method frame instead"
            raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
        if index == PUBLISH_INDEX:
            self.publisher.method(payload)
            return
        method = decode_method(payload)
        handler = _HANDLERS.get(type(method))
        if handler is None:
            text = "unimplemented method"
            raise HardError(ReplyCode.COMMAND_INVALID, text)
        handler(self, method)

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
            self.transaction.roll_back()
        return answering.requeue(self, self.unacked.take_all(), lost=True)

    # What its methods call

    def reply(self, method: Frame, *, nowait: bool = False) -> None:
        """Send a method, unless the client asked for no answer."""
        if not nowait:
            self.connection.send(frame.marshal(method, self.number))

    def send_content(self, method: bytes, message: Message) -> None:
        """Send a method (its payload) and the message it carries."""
        self.connection.send(wire.frame(wire.METHOD, self.number, method))
        self.connection.send(wire.content(self.number, message, self.connection.frame_max))

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


def _on_flow(channel: Channel, method: commands.Channel.Flow) -> None:
    if not method.active:
        text = "active=false"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    channel.reply(commands.Channel.FlowOk(active=True))


def _on_confirm_select(channel: Channel, method: commands.Confirm.Select) -> None:
    if channel.transaction is not None:
        text = "cannot switch from tx to confirm mode"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    channel.publisher.confirming = True
    channel.reply(commands.Confirm.SelectOk(), nowait=method.nowait)


_HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    commands.Channel.Flow: _on_flow,
    commands.Confirm.Select: _on_confirm_select,
    **answering.HANDLERS,
    **consuming.HANDLERS,
    **declaring.HANDLERS,
    **tx.HANDLERS,
}
