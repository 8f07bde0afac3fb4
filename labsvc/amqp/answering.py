"""Answers to deliveries: ack, nack, reject, recover."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from labsvc.amqp.errors import HardError, ReplyCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pamqp.base import Frame

    from labsvc.amqp.channel import Channel
    from labsvc.amqp.queue import Queue
    from labsvc.amqp.unacked import Delivery


class Answer(Enum):
    """What a client says of a delivery."""

    ACK = auto()
    REQUEUE = auto()
    REJECT = auto()


def settle(channel: Channel, answer: Answer, deliveries: list[Delivery]) -> None:
    """Do as the client says with deliveries that were taken out of `channel.unacked`."""
    release = channel.unacked.release
    if answer is Answer.REQUEUE:
        for queue in requeue(channel, deliveries):
            queue.dispatch()
    elif answer is Answer.ACK:
        channel.vhost.counters.acked += len(deliveries)
        for delivery in deliveries:
            release(delivery)
            delivery.queue.settle(delivery.entry)
    else:
        for delivery in deliveries:
            release(delivery)
            delivery.queue.reject(delivery.entry)
    channel.wake()


def requeue(channel: Channel, deliveries: Iterable[Delivery], *, lost: bool = False) -> set[Queue]:
    """Put messages back; return the queues, which need a dispatch. `lost`: the channel ends."""
    queues = set()
    for delivery in deliveries:
        channel.unacked.release(delivery)
        delivery.queue.requeue(delivery.entry, lost=lost)
        queues.add(delivery.queue)
    return queues


def _on_ack(channel: Channel, method: Basic.Ack) -> None:
    deliveries = channel.unacked.take(method.delivery_tag, multiple=method.multiple)
    _answer(channel, Answer.ACK, deliveries)


def _on_nack(channel: Channel, method: Basic.Nack) -> None:
    deliveries = channel.unacked.take(method.delivery_tag, multiple=method.multiple)
    _answer(channel, Answer.REQUEUE if method.requeue else Answer.REJECT, deliveries)


def _on_reject(channel: Channel, method: Basic.Reject) -> None:
    deliveries = channel.unacked.take(method.delivery_tag or 0, multiple=False)
    _answer(channel, Answer.REQUEUE if method.requeue else Answer.REJECT, deliveries)


def _answer(channel: Channel, answer: Answer, deliveries: list[Delivery]) -> None:
    if channel.transaction is None:
        settle(channel, answer, deliveries)
    else:
        channel.transaction.answers.append((answer, deliveries))


def _on_recover(channel: Channel, method: Basic.Recover | Basic.RecoverAsync) -> None:
    if not method.requeue:
        text = "requeue=false"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    settle(channel, Answer.REQUEUE, channel.unacked.take_all())
    channel.reply(Basic.RecoverOk(), nowait=method.name == "Basic.RecoverAsync")


HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    Basic.Ack: _on_ack,
    Basic.Nack: _on_nack,
    Basic.Reject: _on_reject,
    Basic.Recover: _on_recover,
    Basic.RecoverAsync: _on_recover,
}
