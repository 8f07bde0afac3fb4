"""The methods of transactions: what a channel publishes and answers takes effect at tx.commit.

Less than the name promises, as in RabbitMQ: a commit is atomic for one queue, not for
several, and a transaction never holds back what others see (guide "Broker semantics").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamqp.commands import Tx

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.session.acknowledge import settle
from labsvc.amqp.session.publish import deliver
from labsvc.amqp.session.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.session.channel import Channel


def _on_select(channel: Channel, _method: Tx.Select) -> None:
    if channel.confirms.on:
        text = "cannot switch from confirm to tx mode"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    if channel.transaction is None:
        channel.transaction = Transaction()
    channel.reply(Tx.SelectOk())


def _on_commit(channel: Channel, _method: Tx.Commit) -> None:
    """Let it take effect: first what was published, then the answers."""
    publishes, answers = _transaction(channel).take()
    taken = [deliver(channel, routed) for routed in publishes]
    for answer, deliveries in answers:
        settle(channel, answer, deliveries)
    if not all(taken):  # a queue was full; the rest has taken effect
        text = "partial tx completion"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    if publishes or answers:
        channel.vhost.traced.committed(channel.connection)
    channel.reply(Tx.CommitOk())


def _on_rollback(channel: Channel, _method: Tx.Rollback) -> None:
    channel.unacked.put_back(_transaction(channel).roll_back())
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
