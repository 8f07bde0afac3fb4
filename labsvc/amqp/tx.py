"""Transactions: what a channel publishes and answers takes effect at tx.commit.

Less than the name promises, as in RabbitMQ: a commit is atomic for one queue, not for
several, and a transaction never holds back what others see (guide "Broker semantics").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pamqp.commands import Tx

from labsvc.amqp.answering import Answer, settle
from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamqp.base import Frame

    from labsvc.amqp.channel import Channel
    from labsvc.amqp.message import Message
    from labsvc.amqp.queue import Queue
    from labsvc.amqp.unacked import Delivery


class Publish(NamedTuple):
    """A message on its way to the queues that its publish found."""

    message: Message
    queues: Sequence[Queue]
    mandatory: bool


class Transaction:
    """What a channel has done since tx.select, or since the last commit or rollback."""

    def __init__(self, channel: Channel) -> None:
        self.publishes: list[Publish] = []
        self.answers: list[tuple[Answer, list[Delivery]]] = []
        self._channel = channel

    def commit(self) -> None:
        """Let it take effect: first what was published, then the answers.

        Raises:
            SoftError: 406, a queue was full and rejected a message; the rest has taken effect.

        """
        publishes, self.publishes = self.publishes, []
        answers, self.answers = self.answers, []
        deliver = self._channel.publisher.deliver
        taken = [
            deliver(message, queues, mandatory=mandatory)
            for message, queues, mandatory in publishes
        ]
        for answer, deliveries in answers:
            settle(self._channel, answer, deliveries)
        if not all(taken):
            text = "partial tx completion"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)

    def roll_back(self) -> None:
        """Forget it: messages are not published, deliveries wait for their answer again."""
        self.publishes.clear()
        answers, self.answers = self.answers, []
        self._channel.unacked.put_back(each for _, deliveries in answers for each in deliveries)


def _on_select(channel: Channel, _method: Tx.Select) -> None:
    if channel.publisher.confirming:
        text = "cannot switch from confirm to tx mode"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    if channel.transaction is None:
        channel.transaction = Transaction(channel)
    channel.reply(Tx.SelectOk())


def _on_commit(channel: Channel, _method: Tx.Commit) -> None:
    _transaction(channel).commit()
    channel.reply(Tx.CommitOk())


def _on_rollback(channel: Channel, _method: Tx.Rollback) -> None:
    _transaction(channel).roll_back()
    channel.reply(Tx.RollbackOk())


def _transaction(channel: Channel) -> Transaction:
    if channel.transaction is None:
        text = "channel is not transactional"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    return channel.transaction


HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    Tx.Select: _on_select,
    Tx.Commit: _on_commit,
    Tx.Rollback: _on_rollback,
}
