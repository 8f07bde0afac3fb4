"""The methods that ask for messages: qos, consume, cancel, get."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.rules.settings import consumer_priority
from labsvc.amqp.session.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.session.channel import Channel

_GET_OK = Struct(">IQ?")
_COUNT = Struct(">I")


def _on_qos(channel: Channel, method: Basic.Qos) -> None:
    if method.prefetch_size:
        text = f"prefetch_size!=0 ({method.prefetch_size})"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    if method.global_:
        channel.prefetch = method.prefetch_count
    else:
        channel.consumer_prefetch = method.prefetch_count
    channel.reply(Basic.QosOk())
    channel.wake()


def _on_consume(channel: Channel, method: Basic.Consume) -> None:
    """Add a consumer. `no_local` changes nothing, as in RabbitMQ."""
    channel.acts("consumer")
    queue = channel.queue(method.queue)
    tag = method.consumer_tag or channel.new_tag()
    if tag in channel.consumers:
        text = f"attempt to reuse consumer tag '{tag}'"
        raise HardError(ReplyCode.NOT_ALLOWED, text)
    if queue.quorum and channel.prefetch:
        text = f"{queue.title} does not support global qos"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    consumer = Consumer(
        channel,
        queue,
        tag,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        prefetch=channel.consumer_prefetch,
        priority=consumer_priority(method.arguments or {}, queue=queue.title),
    )
    queue.add(consumer)
    channel.consumers[tag] = consumer
    channel.reply(Basic.ConsumeOk(tag), nowait=method.nowait)
    queue.dispatch()


def _on_cancel(channel: Channel, method: Basic.Cancel) -> None:
    consumer = channel.consumers.get(method.consumer_tag or "")
    if consumer is not None:
        channel.end(consumer)
    channel.reply(Basic.CancelOk(method.consumer_tag), nowait=method.nowait)


def _on_get(channel: Channel, method: Basic.Get) -> None:
    channel.acts("consumer")
    queue = channel.queue(method.queue)
    entry = queue.take()
    if entry is None:
        channel.reply(Basic.GetEmpty())
        return
    if method.no_ack:
        queue.settle(entry)
        tag = channel.unacked.next_tag()
    else:
        tag = channel.unacked.add(entry, queue, None)
    channel.delivered(entry, queue)
    start = _GET_OK.pack(Basic.GetOk.index, tag, entry.redelivered)
    message = entry.counted() if queue.quorum else entry.message
    channel.send_content(start + message.route + _COUNT.pack(len(queue)), message)


HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    Basic.Qos: _on_qos,
    Basic.Consume: _on_consume,
    Basic.Cancel: _on_cancel,
    Basic.Get: _on_get,
}
