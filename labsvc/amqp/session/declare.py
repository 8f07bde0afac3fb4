"""The methods of exchanges and queues: declare, bind, unbind, purge, delete."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic, Exchange, Queue

from labsvc.amqp.session.consumer import Consumer
from labsvc.amqp.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.rules import queue as queues
    from labsvc.amqp.session.channel import Channel

_INDEX = Struct(">I")
_DECLARE_OK = Struct(">II")


def _on_exchange_declare(channel: Channel, method: Exchange.Declare) -> None:
    if method.passive:
        channel.vhost.exchanges.get(method.exchange)
    else:
        channel.vhost.exchanges.declare(
            method.exchange,
            method.exchange_type,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments or {},
        )
    channel.reply(Exchange.DeclareOk(), nowait=method.nowait)


def _on_exchange_bind(channel: Channel, method: Exchange.Bind) -> None:
    exchanges = channel.vhost.exchanges
    source, destination = exchanges.get(method.source), exchanges.get(method.destination)
    exchanges.bind(source.name, destination, method.routing_key, method.arguments or {})
    channel.reply(Exchange.BindOk(), nowait=method.nowait)


def _on_exchange_unbind(channel: Channel, method: Exchange.Unbind) -> None:
    exchanges = channel.vhost.exchanges
    if not method.destination or method.destination in exchanges:
        destination = exchanges.get(method.destination)
        arguments = method.arguments or {}
        exchanges.unbind(method.source, destination, method.routing_key, arguments)
    channel.reply(Exchange.UnbindOk(), nowait=method.nowait)


def _on_exchange_delete(channel: Channel, method: Exchange.Delete) -> None:
    channel.vhost.exchanges.delete(method.exchange, if_unused=method.if_unused)
    channel.reply(Exchange.DeleteOk(), nowait=method.nowait)


def _on_queue_declare(channel: Channel, method: Queue.Declare) -> None:
    vhost = channel.vhost
    if method.passive:
        queue = vhost.queue(method.queue, channel.connection)
        queue.touch()
    else:
        queue = vhost.declare_queue(
            method.queue,
            channel.connection,
            durable=method.durable,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments or {},
        )
        channel.last_queue = queue.name
    if not method.nowait:  # by hand: pamqp refuses names that RabbitMQ allows
        start = _INDEX.pack(Queue.DeclareOk.index) + frames.shortstr(queue.name)
        counts = _DECLARE_OK.pack(len(queue), len(queue.consumers))
        channel.connection.send(frames.frame(frames.METHOD, channel.number, start + counts))


def _on_queue_bind(channel: Channel, method: Queue.Bind) -> None:
    exchanges = channel.vhost.exchanges
    exchanges.get(method.exchange)
    queue = channel.queue(method.queue)
    both_empty = not method.queue and not method.routing_key
    key = queue.name if both_empty else method.routing_key
    exchanges.bind(method.exchange, queue, key, method.arguments or {})
    channel.reply(Queue.BindOk(), nowait=method.nowait)


def _on_queue_unbind(channel: Channel, method: Queue.Unbind) -> None:
    name = method.queue or channel.last_queue
    if not name or name in channel.vhost.queues:  # RabbitMQ: else there is nothing to unbind
        queue = channel.queue(name)
        arguments = method.arguments or {}
        channel.vhost.exchanges.unbind(method.exchange, queue, method.routing_key, arguments)
    channel.reply(Queue.UnbindOk())


def _on_queue_purge(channel: Channel, method: Queue.Purge) -> None:
    count = channel.queue(method.queue).purge()
    channel.reply(Queue.PurgeOk(count), nowait=method.nowait)


def _on_queue_delete(channel: Channel, method: Queue.Delete) -> None:
    vhost, name = channel.vhost, method.queue or channel.last_queue
    if name and name not in vhost.queues:  # RabbitMQ: what is not there is deleted
        channel.reply(Queue.DeleteOk(0), nowait=method.nowait)
        return
    queue = channel.queue(name)
    count = vhost.delete_queue(queue, if_unused=method.if_unused, if_empty=method.if_empty)
    channel.reply(Queue.DeleteOk(count), nowait=method.nowait)
    _cancel_all(queue)


def _cancel_all(queue: queues.Queue) -> None:
    """Tell the consumers of a deleted queue that they have ended, if they want to know."""
    for consumer in list(queue.consumers):
        assert isinstance(consumer, Consumer)
        queue.remove(consumer)
        channel = consumer.channel
        del channel.consumers[consumer.tag]
        if channel.connection.wants_cancel_notify:
            channel.reply(Basic.Cancel(consumer.tag, nowait=True))


HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    Exchange.Declare: _on_exchange_declare,
    Exchange.Bind: _on_exchange_bind,
    Exchange.Unbind: _on_exchange_unbind,
    Exchange.Delete: _on_exchange_delete,
    Queue.Declare: _on_queue_declare,
    Queue.Bind: _on_queue_bind,
    Queue.Unbind: _on_queue_unbind,
    Queue.Purge: _on_queue_purge,
    Queue.Delete: _on_queue_delete,
}
