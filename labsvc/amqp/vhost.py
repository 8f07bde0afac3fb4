"""A virtual host: the names of queues and exchanges, and the rules about them.

No socket, no clock. Reply codes and texts are RabbitMQ's.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.exchange import KINDS, Exchange
from labsvc.amqp.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

RESERVED = "amq."


@dataclass(slots=True)
class Counters:
    """What happened in a virtual host since it was made, in messages."""

    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    acked: int = 0
    redelivered: int = 0

    def handed_out(self, *, redelivered: bool) -> None:
        """Count a message that goes to a client."""
        self.delivered += 1
        self.redelivered += redelivered


class VHost:
    """The virtual host `/`, with `amq.direct`, `amq.fanout` and `amq.topic`.

    `owner` stands for the connection that asks: an exclusive queue answers only to it.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.queues: dict[str, Queue] = {}
        self.exchanges = {
            f"{RESERVED}{kind}": Exchange(f"{RESERVED}{kind}", kind, durable=True) for kind in KINDS
        }

    # Queues

    def queue(self, name: str, owner: object) -> Queue:
        """Return a queue.

        Raises:
            SoftError: 404, no such queue; 405, it is exclusive to another connection.

        """
        queue = self.queues.get(name)
        if queue is None:
            text = f"no queue '{name}' in vhost '/'"
            raise SoftError(ReplyCode.NOT_FOUND, text)
        if queue.owner not in (None, owner):
            raise _locked(name)
        return queue

    def declare_queue(
        self, name: str, owner: object, *, durable: bool, exclusive: bool, auto_delete: bool
    ) -> Queue:
        """Return the queue of this name, made if need be; an empty name gets a new one.

        Raises:
            SoftError: 403, the name is reserved; 405, it is or is not exclusive; 406, it
                exists with other properties.

        """
        if name in self.queues:
            queue = self.queue(name, owner)
            if exclusive != (queue.owner is not None):
                raise _locked(name)
            what = f"queue '{name}'"
            _same("durable", what, received=durable, current=queue.durable)
            _same("auto_delete", what, received=auto_delete, current=queue.auto_delete)
            return queue
        _not_reserved("queue", name)
        if not name:
            name = f"{RESERVED}gen-{base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip('=')}"
        queue = self.queues[name] = Queue(
            name,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner if exclusive else None,
        )
        return queue

    def delete_queue(self, queue: Queue, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue with its messages and bindings; return how many messages waited.

        Raises:
            SoftError: 406, it has consumers (`if_unused`) or messages (`if_empty`).

        """
        if if_unused and queue.consumers:
            text = f"queue '{queue.name}' in vhost '/' in use"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        if if_empty and len(queue):
            text = f"queue '{queue.name}' in vhost '/' not empty"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        queue.deleted = True
        del self.queues[queue.name]
        for exchange_name, key in queue.bindings.copy():
            self._unbind(queue, exchange_name, key)
        return queue.purge()

    def delete_queues_of(self, owner: object) -> None:
        """Delete the exclusive queues of a connection that has ended."""
        for queue in [queue for queue in self.queues.values() if queue.owner is owner]:
            self.delete_queue(queue)

    def bind(self, queue: Queue, exchange_name: str, key: str) -> None:
        """Bind a queue to an exchange.

        Raises:
            SoftError: 403, it is the default exchange; 404, no such exchange.

        """
        self.exchange(exchange_name).bind(queue, key)
        queue.bindings.add((exchange_name, key))

    def unbind(self, queue: Queue, exchange_name: str, key: str) -> None:
        """Remove a binding; one that does not exist is no error.

        Raises:
            SoftError: 403, it is the default exchange; 404, no such exchange.

        """
        self.exchange(exchange_name)
        if (exchange_name, key) in queue.bindings:
            self._unbind(queue, exchange_name, key)

    def _unbind(self, queue: Queue, exchange_name: str, key: str) -> None:
        queue.bindings.discard((exchange_name, key))
        exchange = self.exchanges[exchange_name]
        exchange.unbind(queue, key)
        if exchange.auto_delete and not exchange.bindings:
            del self.exchanges[exchange_name]

    # Exchanges

    def exchange(self, name: str) -> Exchange:
        """Return an exchange.

        Raises:
            SoftError: 403, it is the default exchange; 404, no such exchange.

        """
        if not name:
            text = "operation not permitted on the default exchange"
            raise SoftError(ReplyCode.ACCESS_REFUSED, text)
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise _no_exchange(name)
        return exchange

    def declare_exchange(self, name: str, kind: str, *, durable: bool, auto_delete: bool) -> None:
        """Make an exchange, unless there is one with these properties.

        Raises:
            SoftError: 403, the name is reserved; 406, it exists with other properties.
            HardError: 503, no such type; 540, type headers.

        """
        if kind == "headers":
            text = "exchange type 'headers'"
            raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
        if kind not in KINDS:
            text = f"unknown exchange type '{kind}'"
            raise HardError(ReplyCode.COMMAND_INVALID, text)
        if name and name not in self.exchanges:
            _not_reserved("exchange", name)
            self.exchanges[name] = Exchange(name, kind, durable=durable, auto_delete=auto_delete)
            return
        exchange, what = self.exchange(name), f"exchange '{name}'"
        _same("type", what, received=kind, current=exchange.kind)
        _same("durable", what, received=durable, current=exchange.durable)
        _same("auto_delete", what, received=auto_delete, current=exchange.auto_delete)

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange with its bindings; one that does not exist is no error.

        Raises:
            SoftError: 403, the name is reserved; 406, it has bindings (`if_unused`).

        """
        _not_reserved("exchange", name)
        if name and name not in self.exchanges:
            return
        exchange = self.exchange(name)
        if if_unused and exchange.bindings:
            text = f"exchange '{name}' in vhost '/' in use"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        del self.exchanges[name]
        for key, queues in exchange.bindings.items():
            for queue in queues.values():
                queue.bindings.discard((name, key))

    def route(self, exchange_name: str, key: str) -> Sequence[Queue]:
        """Return the queues that a message goes to; the default exchange knows all by name.

        Raises:
            SoftError: 404, no such exchange.

        """
        if not exchange_name:
            queue = self.queues.get(key)
            return () if queue is None else (queue,)
        exchange = self.exchanges.get(exchange_name)
        if exchange is None:
            raise _no_exchange(exchange_name)
        return exchange.route(key)


def _no_exchange(name: str) -> SoftError:
    return SoftError(ReplyCode.NOT_FOUND, f"no exchange '{name}' in vhost '/'")


def _locked(name: str) -> SoftError:
    text = (
        f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be"
        " originally declared on another connection or the exclusive property value does not"
        " match that of the original declaration."
    )
    return SoftError(ReplyCode.RESOURCE_LOCKED, text)


def _not_reserved(what: str, name: str) -> None:
    if name.startswith(RESERVED):
        text = f"{what} name '{name}' contains reserved prefix '{RESERVED}*'"
        raise SoftError(ReplyCode.ACCESS_REFUSED, text)


def _same(argument: str, what: str, *, received: object, current: object) -> None:
    if received != current:
        values = [str(value).lower() for value in (received, current)]
        text = (
            f"inequivalent arg '{argument}' for {what} in vhost '/':"
            f" received '{values[0]}' but current is '{values[1]}'"
        )
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
