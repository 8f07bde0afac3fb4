"""What happens to each message, noted on a timeline while somebody records one.

A message has one number for all its life, and hands it on to the letter that is sent on when it
dies. After a kill it is read from the disk, and is another one.
"""

from __future__ import annotations

import weakref
from collections import Counter
from typing import TYPE_CHECKING, Literal, Protocol

from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.queue import Queue
    from labsvc.timeline.record import Kind

Role = Literal["", "publisher", "consumer"]


class Client(Protocol):
    """A connection; `role` is what it did first, "" as long as it did neither."""

    role: Role

    @property
    def client_name(self) -> str:
        """What the client calls itself, "" for nothing."""


class Traced:
    """Notes for one broker.

    Attributes:
        name: what a timeline calls the broker.
        ended: it was killed, or has stopped: what its connections leave behind is no event.

    """

    def __init__(self, name: str = "broker") -> None:
        self.name = name
        self.ended = False
        self._clients: weakref.WeakKeyDictionary[Client, str] = weakref.WeakKeyDictionary()
        self._roles: Counter[Role] = Counter()
        self._tape: record.Tape | None = None  # whose clients these are

    def note(
        self,
        kind: Kind,
        message: Message,
        queue: str,
        client: Client | None = None,
        detail: str = "",
    ) -> None:
        """Note what happened to a message in a queue, if somebody records."""
        tape = record.current()
        if tape is not None and not self.ended:
            flow, target = tape.flow_of(message), self._name(tape, client)
            tape.add(kind, queue, detail, party=self.name, flow=flow, target=target)

    def published(self, message: Message, queues: Sequence[Queue], client: Client) -> None:
        """Note that a message came, and which queues it went to."""
        names = ", ".join(queue.name for queue in queues)
        nowhere = f"{message.exchange or 'default exchange'}, {message.key}"
        self.note("published", message, names or nowhere, client)

    def committed(self, client: Client) -> None:
        """Note that a transaction took effect; it belongs to no single message."""
        tape = record.current()
        if tape is not None:
            tape.add("committed", party=self.name, flow=0, target=self._name(tape, client))

    def handed_on(self, message: Message, letter: Message) -> None:
        """Give a dead message's number to the letter that is sent on."""
        tape = record.current()
        if tape is not None:
            tape.same(message, letter)

    def _name(self, tape: record.Tape, client: Client | None) -> str:
        """Return what to call a client: the name it gave itself, or what it did first.

        Each recording counts anew, so that two of them can stand side by side.
        """
        if self._tape is not tape:
            self._tape = tape
            self._clients.clear()
            self._roles.clear()
        if client is None or client.client_name:
            return "" if client is None else client.client_name
        known = self._clients.get(client)
        if known is None:
            self._roles[client.role] += 1
            number = self._roles[client.role]
            known = client.role if number == 1 else f"{client.role} {number}"
            self._clients[client] = known
        return known
