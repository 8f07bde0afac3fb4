"""A channel: what each of its methods does (AMQP 0-9-1, section 1.4 and later)."""
# ruff: noqa: SLF001  # the table at the end names the methods above it

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, NoReturn

from pamqp import commands, frame

from labsvc.amqp import wire
from labsvc.amqp.consumer import Consumer, Unacked
from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.fields import decode_method
from labsvc.amqp.publishing import PUBLISH_INDEX, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pamqp.base import Frame

    from labsvc.amqp.connection import Connection
    from labsvc.amqp.consumer import Delivery
    from labsvc.amqp.message import Message
    from labsvc.amqp.queue import Queue
    from labsvc.amqp.vhost import VHost

_GET_OK = Struct(">IQ?")
_COUNT = Struct(">I")
_DECLARE_OK = Struct(">II")


class Channel:
    """One open channel of a connection.

    `prefetch` is how many messages its consumers together may have unacked (0: any
    number). `closing`: channel.close was sent; all but its answer is dropped.
    """

    def __init__(self, connection: Connection, vhost: VHost, number: int) -> None:
        self.connection = connection
        self.vhost = vhost
        self.number = number
        self.closing = False
        self.prefetch = 0
        self.publisher = Publisher(self)
        self.unacked = Unacked()
        self.consumers: dict[str, Consumer] = {}
        self._consumer_prefetch = 0
        self._last_queue = ""
        self._named_tags = 0

    # What the connection calls

    def method(self, index: int, payload: bytes) -> None:
        """Handle a method frame.

        Raises:
            SoftError: the client broke a rule; close the channel.
            HardError: the client broke a rule; close the connection.

        """
        if self.publisher.due:
            text = "expected content for class 60, got a method frame instead"
            raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
        if index == PUBLISH_INDEX:
            self.publisher.method(payload)
            return
        method = decode_method(payload)
        handler = _HANDLERS.get(type(method))
        if handler is None:
            raise HardError(ReplyCode.NOT_IMPLEMENTED, method.name)
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
            self._end(consumer)

    def give_back(self) -> set[Queue]:
        """Requeue what is unacked; return the queues, which need a dispatch."""
        return _requeue(self.unacked.drain())

    def reply(self, method: Frame, *, nowait: bool = False) -> None:
        """Send a method, unless the client asked for no answer."""
        if not nowait:
            self.connection.send(frame.marshal(method, self.number))

    def send_content(self, method: bytes, message: Message) -> None:
        """Send a method (its payload) and the message it carries."""
        self.connection.send(wire.frame(wire.METHOD, self.number, method))
        self.connection.send(wire.content(self.number, message, self.connection.frame_max))

    # Channel, exchange, confirm

    def _on_flow(self, method: commands.Channel.Flow) -> None:
        if not method.active:
            _not_implemented("active=false")
        self.reply(commands.Channel.FlowOk(active=True))

    def _on_exchange_declare(self, method: commands.Exchange.Declare) -> None:
        if method.passive:
            self.vhost.exchange(method.exchange)
        else:
            _refuse_arguments(method.arguments)
            if method.internal:
                _not_implemented("internal=true")
            self.vhost.declare_exchange(
                method.exchange,
                method.exchange_type,
                durable=method.durable,
                auto_delete=method.auto_delete,
            )
        self.reply(commands.Exchange.DeclareOk(), nowait=method.nowait)

    def _on_exchange_delete(self, method: commands.Exchange.Delete) -> None:
        self.vhost.delete_exchange(method.exchange, if_unused=method.if_unused)
        self.reply(commands.Exchange.DeleteOk(), nowait=method.nowait)

    def _on_confirm_select(self, method: commands.Confirm.Select) -> None:
        self.publisher.confirming = True
        self.reply(commands.Confirm.SelectOk(), nowait=method.nowait)

    # Queue

    def _queue(self, name: str) -> Queue:
        """Return a queue; an empty name means the one declared last on this channel."""
        if not name and not self._last_queue:
            text = "no previously declared queue"
            raise SoftError(ReplyCode.NOT_FOUND, text)
        return self.vhost.queue(name or self._last_queue, self.connection)

    def _on_queue_declare(self, method: commands.Queue.Declare) -> None:
        if method.passive:
            queue = self._queue(method.queue)
        else:
            _refuse_arguments(method.arguments)
            queue = self.vhost.declare_queue(
                method.queue,
                self.connection,
                durable=method.durable,
                exclusive=method.exclusive,
                auto_delete=method.auto_delete,
            )
        self._last_queue = queue.name
        if not method.nowait:  # by hand: pamqp refuses names that RabbitMQ allows
            start = _COUNT.pack(commands.Queue.DeclareOk.index) + wire.shortstr(queue.name)
            counts = _DECLARE_OK.pack(len(queue), len(queue.consumers))
            self.connection.send(wire.frame(wire.METHOD, self.number, start + counts))

    def _on_queue_bind(self, method: commands.Queue.Bind) -> None:
        _refuse_arguments(method.arguments)
        queue = self._queue(method.queue)
        both_empty = not method.queue and not method.routing_key
        self.vhost.bind(queue, method.exchange, queue.name if both_empty else method.routing_key)
        self.reply(commands.Queue.BindOk(), nowait=method.nowait)

    def _on_queue_unbind(self, method: commands.Queue.Unbind) -> None:
        _refuse_arguments(method.arguments)
        queue = self._queue(method.queue)
        self.vhost.unbind(queue, method.exchange, method.routing_key)
        self.reply(commands.Queue.UnbindOk())

    def _on_queue_purge(self, method: commands.Queue.Purge) -> None:
        count = self._queue(method.queue).purge()
        self.reply(commands.Queue.PurgeOk(count), nowait=method.nowait)

    def _on_queue_delete(self, method: commands.Queue.Delete) -> None:
        count = 0  # RabbitMQ: a queue that does not exist is no error
        if not method.queue or method.queue in self.vhost.queues:
            queue = self._queue(method.queue)
            count = self.vhost.delete_queue(
                queue, if_unused=method.if_unused, if_empty=method.if_empty
            )
            _cancel_all(queue)
        self.reply(commands.Queue.DeleteOk(count), nowait=method.nowait)

    # Consuming

    def _on_qos(self, method: commands.Basic.Qos) -> None:
        if method.prefetch_size:
            _not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            self.prefetch = method.prefetch_count
        else:
            self._consumer_prefetch = method.prefetch_count
        self.reply(commands.Basic.QosOk())
        self.wake()

    def _on_consume(self, method: commands.Basic.Consume) -> None:
        _refuse_arguments(method.arguments)
        if method.no_local:
            _not_implemented("no_local=true")
        queue = self._queue(method.queue)
        tag = method.consumer_tag
        if not tag:
            self._named_tags += 1
            tag = f"amq.ctag-{self.number}.{self._named_tags}"
        if tag in self.consumers:
            text = f"attempt to reuse consumer tag '{tag}'"
            raise HardError(ReplyCode.NOT_ALLOWED, text)
        consumer = Consumer(
            self,
            queue,
            tag,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch=self._consumer_prefetch,
        )
        queue.add(consumer)
        self.consumers[tag] = consumer
        self.reply(commands.Basic.ConsumeOk(tag), nowait=method.nowait)
        queue.dispatch()

    def _on_cancel(self, method: commands.Basic.Cancel) -> None:
        consumer = self.consumers.get(method.consumer_tag or "")
        if consumer is not None:
            self._end(consumer)
        self.reply(commands.Basic.CancelOk(method.consumer_tag), nowait=method.nowait)

    def _end(self, consumer: Consumer) -> None:
        queue = consumer.queue
        del self.consumers[consumer.tag]
        queue.remove(consumer)
        if queue.auto_delete and not queue.consumers:
            self.vhost.delete_queue(queue)

    def _on_get(self, method: commands.Basic.Get) -> None:
        queue = self._queue(method.queue)
        entry = queue.take()
        if entry is None:
            self.reply(commands.Basic.GetEmpty())
            return
        if method.no_ack:
            queue.settle()
            tag = self.unacked.next_tag()
        else:
            tag = self.unacked.add(entry, queue, None)
        self.vhost.counters.handed_out(redelivered=entry.redelivered)
        start = _GET_OK.pack(commands.Basic.GetOk.index, tag, entry.redelivered)
        self.send_content(start + entry.message.route + _COUNT.pack(len(queue)), entry.message)

    # Answers to deliveries

    def _on_ack(self, method: commands.Basic.Ack) -> None:
        deliveries = self.unacked.answered(method.delivery_tag, multiple=method.multiple)
        self.vhost.counters.acked += len(deliveries)
        for delivery in deliveries:
            delivery.queue.settle()
        self.wake()

    def _on_nack(self, method: commands.Basic.Nack) -> None:
        deliveries = self.unacked.answered(method.delivery_tag, multiple=method.multiple)
        self._refuse(deliveries, requeue=method.requeue)

    def _on_reject(self, method: commands.Basic.Reject) -> None:
        deliveries = self.unacked.answered(method.delivery_tag or 0, multiple=False)
        self._refuse(deliveries, requeue=method.requeue)

    def _refuse(self, deliveries: list[Delivery], *, requeue: bool) -> None:
        if requeue:
            for queue in _requeue(deliveries):
                queue.dispatch()
        else:
            for delivery in deliveries:
                delivery.queue.settle()
        self.wake()

    def _on_recover(self, method: commands.Basic.Recover | commands.Basic.RecoverAsync) -> None:
        if not method.requeue:
            _not_implemented("requeue=false")
        self._refuse(self.unacked.drain(), requeue=True)
        self.reply(commands.Basic.RecoverOk(), nowait=method.name == "Basic.RecoverAsync")


def _requeue(deliveries: Iterable[Delivery]) -> set[Queue]:
    queues = set()
    for delivery in deliveries:
        delivery.queue.requeue(delivery.entry)
        queues.add(delivery.queue)
    return queues


def _cancel_all(queue: Queue) -> None:
    """Tell the consumers of a deleted queue that they have ended, if they want to know."""
    for consumer in list(queue.consumers):
        assert isinstance(consumer, Consumer)
        queue.remove(consumer)
        channel = consumer.channel
        del channel.consumers[consumer.tag]
        if channel.connection.wants_cancel_notify:
            channel.reply(commands.Basic.Cancel(consumer.tag, nowait=True))


def _refuse_arguments(arguments: dict[str, Any]) -> None:
    if arguments:
        text = f"argument '{next(iter(arguments))}' is not supported"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)


def _not_implemented(text: str) -> NoReturn:
    raise HardError(ReplyCode.NOT_IMPLEMENTED, text)


_HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    commands.Channel.Flow: Channel._on_flow,
    commands.Exchange.Declare: Channel._on_exchange_declare,
    commands.Exchange.Delete: Channel._on_exchange_delete,
    commands.Confirm.Select: Channel._on_confirm_select,
    commands.Queue.Declare: Channel._on_queue_declare,
    commands.Queue.Bind: Channel._on_queue_bind,
    commands.Queue.Unbind: Channel._on_queue_unbind,
    commands.Queue.Purge: Channel._on_queue_purge,
    commands.Queue.Delete: Channel._on_queue_delete,
    commands.Basic.Qos: Channel._on_qos,
    commands.Basic.Consume: Channel._on_consume,
    commands.Basic.Cancel: Channel._on_cancel,
    commands.Basic.Get: Channel._on_get,
    commands.Basic.Ack: Channel._on_ack,
    commands.Basic.Nack: Channel._on_nack,
    commands.Basic.Reject: Channel._on_reject,
    commands.Basic.Recover: Channel._on_recover,
    commands.Basic.RecoverAsync: Channel._on_recover,
}
