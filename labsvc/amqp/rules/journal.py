"""What the rules tell the store: the changes that have to survive a crash.

The vhost and its queues report every change as they make it, in memory. Nothing is written
to a socket before what happened up to then is stored (`session.group_commit` sees to that), so
replies, confirms and commit-ok need no hook of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.exchange import Binding, Exchange
    from labsvc.amqp.rules.queue import Queue


class Journal:
    """Takes the changes of one virtual host. This base class notes nothing.

    Topology: report all of it; what is not durable, or exclusive, is left out here.
    Messages: report only persistent ones (in a quorum queue, all), and only from queues that
    are durable and not exclusive; others get `FORGETFUL` for a journal.
    """

    def queue_declared(self, queue: Queue) -> None:
        """Note a new queue."""

    def queue_deleted(self, queue: Queue) -> None:
        """Forget a queue with its messages and bindings, which need no report."""

    def exchange_declared(self, exchange: Exchange) -> None:
        """Note a new exchange."""

    def exchange_deleted(self, exchange: Exchange) -> None:
        """Forget an exchange with its bindings, to it and from it, which need no report."""

    def bound(self, binding: Binding) -> None:
        """Note a new binding."""

    def unbound(self, binding: Binding) -> None:
        """Forget a binding."""

    def entered(self, queue: Queue, entry: Entry) -> None:
        """Note a message that was pushed to a queue. A requeue is no news."""

    def left(self, queue: Queue, entry: Entry) -> None:
        """Forget a message in a queue: acked, taken without ack, expired, dropped, purged."""

    def handed_out(self, queue: Queue, entry: Entry) -> None:
        """Note that a message of a quorum queue is delivered.

        If the process ends now, this delivery counts as one in vain.
        """


FORGETFUL = Journal()
