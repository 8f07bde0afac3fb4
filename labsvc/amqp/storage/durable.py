"""The journal of what is durable: it passes the changes on to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.amqp.rules.exchange import Exchange
from labsvc.amqp.rules.journal import Journal
from labsvc.amqp.rules.names import RESERVED
from labsvc.amqp.wire.encode import pack_table

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.exchange import Binding
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.storage.store import Row, Store

_UNBIND = (
    "DELETE FROM bindings WHERE vhost=? AND source=? AND destination=?"
    " AND to_exchange=? AND key=? AND arguments=?"
)


class DurableJournal(Journal):
    """Collects the changes of one virtual host, of what is durable."""

    def __init__(self, store: Store, vhost: str) -> None:
        self._store = store
        self._vhost = vhost
        self._exchanges: set[str] = set()  # the durable ones that clients declared

    def queue_declared(self, queue: Queue) -> None:
        """Note a new queue, unless it is to end with the process or with its connection."""
        if not queue.durable or queue.owner is not None:
            return
        queue.stored_id = self._store.next_queue()
        arguments = pack_table(queue.settings.arguments)
        row = (queue.stored_id, self._vhost, queue.name, queue.auto_delete, arguments)
        self._store.change("INSERT INTO queues VALUES (?, ?, ?, ?, ?)", row)

    def queue_deleted(self, queue: Queue) -> None:
        """Forget a queue with its entries and bindings. `left` still frees its messages."""
        if queue.stored_id:
            self._store.forget_queue(queue.stored_id)
            queue.stored_id = 0
            statement = "DELETE FROM bindings WHERE vhost=? AND destination=? AND NOT to_exchange"
            self._store.change(statement, (self._vhost, queue.name))

    def exchange_declared(self, exchange: Exchange) -> None:
        """Note a new exchange, if it is durable."""
        if exchange.durable:
            self._exchanges.add(exchange.name)
            settings = (exchange.kind, exchange.auto_delete, exchange.internal)
            row = (self._vhost, exchange.name, *settings, pack_table(exchange.arguments))
            self._store.change("INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?)", row)

    def exchange_deleted(self, exchange: Exchange) -> None:
        """Forget an exchange with its bindings, to it and from it."""
        if exchange.durable:
            self._exchanges.discard(exchange.name)
            name = (self._vhost, exchange.name)
            self._store.change("DELETE FROM exchanges WHERE vhost=? AND name=?", name)
            self._store.change("DELETE FROM bindings WHERE vhost=? AND source=?", name)
            statement = "DELETE FROM bindings WHERE vhost=? AND destination=? AND to_exchange"
            self._store.change(statement, name)

    def bound(self, binding: Binding) -> None:
        """Note a new binding; of one that is not durable at both ends, nothing."""
        target = binding.destination
        stored = target.durable if isinstance(target, Exchange) else target.stored_id
        if stored and (binding.source in self._exchanges or binding.source.startswith(RESERVED)):
            statement = "INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?, ?, ?)"
            self._store.change(statement, self._row(binding))

    def unbound(self, binding: Binding) -> None:
        """Forget a binding."""
        self._store.change(_UNBIND, self._row(binding))

    def entered(self, queue: Queue, entry: Entry) -> None:
        """Note a message that was pushed to a queue."""
        self._store.add((queue.stored_id, entry.position), entry)

    def left(self, queue: Queue, entry: Entry) -> None:
        """Forget a message in a queue."""
        self._store.drop((queue.stored_id, entry.position), entry.message)

    def handed_out(self, queue: Queue, entry: Entry) -> None:
        """Note that a message of a quorum queue is delivered."""
        self._store.count((queue.stored_id, entry.position), entry.deliveries + 1)

    def _row(self, binding: Binding) -> Row:
        target = binding.destination
        arguments = pack_table(dict(sorted(binding.arguments.items())))
        return (
            *(self._vhost, binding.source, target.name, isinstance(target, Exchange)),
            *(binding.key, arguments),
        )
