"""What happens to each message, noted on a timeline while somebody records one.

A message has one number for all its life, and hands it on to the letter that is sent on when it
dies. After a kill it is read from the disk, and is another one.
"""

from __future__ import annotations

import weakref
from collections import Counter
from typing import TYPE_CHECKING, Literal

from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.amqp.rules.message import Message
    from labsvc.timeline.record import Kind

    Role = Literal["publisher", "consumer"]


class Traced:
    """Notes for one broker; `name` is what a timeline calls it."""

    def __init__(self, name: str = "broker") -> None:
        self.name = name
        self._clients: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()
        self._roles: Counter[str] = Counter()

    def note(
        self, kind: Kind, message: Message, queue: str, client: str = "", *, detail: str = ""
    ) -> None:
        """Note what happened to a message in a queue, if somebody records."""
        tape = record.current()
        if tape is not None:
            flow = tape.flow_of(message)
            tape.add(kind, queue, detail, party=self.name, flow=flow, target=client)

    def published(self, message: Message, queues: Sequence[str], client: str) -> None:
        """Note that a message came, and which queues it went to."""
        nowhere = f"{message.exchange or 'default exchange'}, {message.key}"
        self.note("published", message, ", ".join(queues) or nowhere, client)

    def handed_on(self, message: Message, letter: Message) -> None:
        """Give a dead message's number to the letter that is sent on."""
        tape = record.current()
        if tape is not None:
            tape.same(message, letter)

    def client(self, connection: object, name: str, role: Role) -> str:
        """Return what to call a client: the name it gave itself, or what it did first."""
        known = self._clients.get(connection)
        if known is None:
            self._roles[role] += not name
            number = self._roles[role]
            known = self._clients[connection] = name or (
                role if number == 1 else f"{role} {number}"
            )
        return known
