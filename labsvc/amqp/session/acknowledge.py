"""Answers to deliveries: ack, nack, reject, recover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.session.unacked import Answer
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.session.channel import Channel
    from labsvc.amqp.session.unacked import Delivery
    from labsvc.timeline.record import Kind


_NOTED: dict[Answer, Kind] = {
    Answer.ACK: "acked",
    Answer.REQUEUE: "requeued",
    Answer.REJECT: "rejected",
}


def settle(channel: Channel, answer: Answer, deliveries: list[Delivery]) -> None:
    """Do as the client says with deliveries that were taken out of `channel.unacked`."""
    release = channel.unacked.release
    if record.current() is not None:  # asked here, since there is a call for each ack
        for delivery in deliveries:
            channel.note(_NOTED[answer], delivery.entry.message, delivery.queue.name)
    if answer is Answer.REQUEUE:
        for queue in channel.unacked.requeue(deliveries):
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
