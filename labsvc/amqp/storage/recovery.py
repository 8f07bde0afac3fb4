"""Recovery: a virtual host as the store knows it, after a stop or a kill.

Durable queues, exchanges and bindings come back, and persistent messages in their order.
As in RabbitMQ, after a crash all messages of a classic queue count as redelivered, since
nobody knows which ones were; after a stop in good order, and in a quorum queue, those do that
were. What a client of a quorum queue held counts as delivered once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.amqp.rules.backlog import Entry
from labsvc.amqp.rules.message import message_of
from labsvc.amqp.wire.content_header import decode_content_header
from labsvc.amqp.wire.cursor import Cursor

if TYPE_CHECKING:
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.rules.vhost import VHost
    from labsvc.amqp.storage.store import Store

_ENTRIES = """
SELECT position, deliveries, expires, messages.id, route, header, body
FROM entries JOIN messages ON messages.id = entries.message
WHERE queue = ? ORDER BY position
"""


def recover(vhost: VHost, store: Store) -> None:
    """Declare, bind and fill what the store has of a new virtual host."""
    exchanges = vhost.exchanges
    for name, kind, auto_delete, internal, arguments in store.rows(
        "SELECT name, kind, auto_delete, internal, arguments FROM exchanges WHERE vhost=?",
        vhost.name,
    ):
        exchanges.declare(
            name,
            kind,
            durable=True,
            auto_delete=bool(auto_delete),
            internal=bool(internal),
            arguments=_table(arguments),
        )
    queues = []
    for number, name, auto_delete, arguments in store.rows(
        "SELECT id, name, auto_delete, arguments FROM queues WHERE vhost=?", vhost.name
    ):
        queue = vhost.make_queue(
            name,
            None,
            durable=True,
            auto_delete=bool(auto_delete),
            arguments=_table(arguments),
        )
        queue.stored_id = number
        queues.append(queue)
    for source, destination, to_exchange, key, arguments in store.rows(
        "SELECT source, destination, to_exchange, key, arguments FROM bindings WHERE vhost=?",
        vhost.name,
    ):
        target = exchanges.get(destination) if to_exchange else vhost.queues[destination]
        exchanges.bind(source, target, key, _table(arguments))
    store.forget()  # that all this was declared: it is no news
    known: dict[int, Message] = {}
    for queue in queues:
        _fill(queue, store, known)
    for queue in queues:
        queue.dispatch()  # what expired meanwhile is dropped or dead-lettered now


def _fill(queue: Queue, store: Store, known: dict[int, Message]) -> None:
    for position, deliveries, expires, number, route, header, body in store.rows(
        _ENTRIES, queue.stored_id
    ):
        message = known.get(number)
        if message is None:
            properties = decode_content_header(header).properties
            message = known[number] = message_of(route, header, body, properties)
            store.know(message, number)
        else:
            store.share(message)
        entry = Entry(message, position)
        entry.redelivered = deliveries > 0 or not (queue.quorum or store.clean)
        entry.deliveries = deliveries if queue.quorum else 0
        entry.expires = expires
        queue.restore(entry)


def _table(packed: bytes) -> dict[str, Any]:
    return Cursor(packed).table()
