"""A virtual host: the names of its queues, and the rules about them.

No socket. Reply codes and texts are RabbitMQ's.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.arguments import check_same
from labsvc.amqp.rules.clock import LoopClock
from labsvc.amqp.rules.counters import Counters
from labsvc.amqp.rules.deadletter import DeadLetters
from labsvc.amqp.rules.exchanges import Exchanges
from labsvc.amqp.rules.journal import FORGETFUL
from labsvc.amqp.rules.memory import UNLIMITED
from labsvc.amqp.rules.names import RESERVED, no_queue, refuse_reserved
from labsvc.amqp.rules.queue import Queue
from labsvc.amqp.rules.settings import QueueSettings
from labsvc.amqp.rules.traced import Traced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.amqp.rules.clock import Clock
    from labsvc.amqp.rules.journal import Journal
    from labsvc.amqp.rules.memory import Memory

_NONE: Mapping[str, Any] = {}


class VHost:
    """One virtual host. Exchanges, bindings and routing are in `exchanges`.

    `owner` stands for the connection that asks: an exclusive queue answers only to it.

    Args:
        name: as in connection.open.
        clock: for what happens in time: messages and queues that expire.
        journal: is told of what has to survive a crash.
        memory: counts the bytes of the messages in all queues.
        counters: count what happens; shared by the virtual hosts of a broker.
        traced: notes it on a timeline; shared likewise.

    """

    def __init__(
        self,
        name: str = "/",
        clock: Clock | None = None,
        journal: Journal = FORGETFUL,
        memory: Memory = UNLIMITED,
        counters: Counters | None = None,
        *,
        traced: Traced | None = None,
    ) -> None:
        self.name = name
        self.memory = memory
        self.counters = counters or Counters()
        self.traced = traced or Traced()
        self.queues: dict[str, Queue] = {}
        self.exchanges = Exchanges(name, self.queues, journal)
        self._clock = clock or LoopClock()
        self._journal = journal
        self._dead_letters = DeadLetters(
            self.exchanges.router.dead_letter, self._clock, self.traced
        )

    def queue(self, name: str, owner: object) -> Queue:
        """Return a queue.

        Raises:
            SoftError: 404, no such queue; 405, it is exclusive to another connection.

        """
        queue = self.queues.get(name)
        if queue is None:
            raise no_queue(name, self.name)
        if queue.owner not in (None, owner):
            raise self._locked(name)
        return queue

    def declare_queue(
        self,
        name: str,
        owner: object,
        *,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] = _NONE,
    ) -> Queue:
        """Return the queue of this name, made if need be; an empty name gets a new one.

        Raises:
            SoftError: 403, the name is reserved; 405, it is or is not exclusive; 406, it
                exists with other properties, or an argument is wrong or not supported.

        """
        refuse_reserved("queue", name)
        what = self._named(name)
        durable = durable and not exclusive  # it ends with its connection anyway
        if name in self.queues:
            queue = self.queue(name, owner)
            if exclusive != (queue.owner is not None):
                raise self._locked(name)
            check_same("durable", what, received=durable, current=queue.durable)
            check_same("auto_delete", what, received=auto_delete, current=queue.auto_delete)
            queue.settings.check_same(arguments, queue=what)
            queue.touch()
            return queue
        if not name:
            if arguments.get("x-queue-type") == b"quorum":
                text = "Cannot declare a server-named queue for type rabbit_quorum_queue"
                raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
            name = f"{RESERVED}gen-{base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip('=')}"
        return self.make_queue(
            name,
            owner if exclusive else None,
            durable=durable,
            auto_delete=auto_delete,
            arguments=arguments,
        )

    def make_queue(
        self,
        name: str,
        owner: object | None,
        *,
        durable: bool,
        auto_delete: bool,
        arguments: Mapping[str, Any],
    ) -> Queue:
        """Make a queue, whatever its name: exclusive if it has an owner. For recovery too.

        Raises:
            SoftError: 406, an argument is wrong or not supported.

        """
        settings = QueueSettings.parse(
            arguments,
            queue=self._named(name),
            durable=durable,
            exclusive=owner is not None,
            auto_delete=auto_delete,
        )
        queue = self.queues[name] = Queue(
            name,
            settings,
            vhost=self.name,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner,
            clock=self._clock,
            journal=self._journal if durable and owner is None else FORGETFUL,
            memory=self.memory,
            dead_letter=self._dead_letters,
            expire=self._expire,
        )
        self._journal.queue_declared(queue)
        return queue

    def delete_queue(self, queue: Queue, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue with its messages and bindings; return how many messages waited.

        Raises:
            SoftError: 406, it has consumers (`if_unused`) or messages (`if_empty`).

        """
        if if_unused and queue.consumers:
            text = f"{self._named(queue.name)} in use"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        if if_empty and len(queue):
            text = f"{self._named(queue.name)} not empty"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        del self.queues[queue.name]
        self._journal.queue_deleted(queue)
        self.exchanges.unbind_all(queue)
        return queue.delete()

    def delete_queues_of(self, owner: object) -> None:
        """Delete the exclusive queues of a connection that has ended."""
        for queue in [queue for queue in self.queues.values() if queue.owner is owner]:
            self.delete_queue(queue)

    def _expire(self, queue: Queue) -> None:
        self.delete_queue(queue)

    def _named(self, name: str) -> str:
        return f"queue '{name}' in vhost '{self.name}'"

    def _locked(self, name: str) -> SoftError:
        text = (
            f"cannot obtain exclusive access to locked {self._named(name)}. It could be"
            " originally declared on another connection or the exclusive property value does not"
            " match that of the original declaration."
        )
        return SoftError(ReplyCode.RESOURCE_LOCKED, text)
