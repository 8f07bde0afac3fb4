"""How much may wait in a queue, and what gives way when it is full. Notebook 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Backlog
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.settings import QueueSettings

SOFT_LIMIT = 0.8  # of max-length: a quorum queue that rejected accepts again from here on


class Limits:
    """The limits of one queue, in messages and in bytes of body.

    A full queue drops its head or rejects what comes. A classic queue rejects what would take
    it over a limit; a quorum queue, as in RabbitMQ, once it is over, until it is down to
    `SOFT_LIMIT`.

    Args:
        settings: of the queue.
        backlog: what waits in it.

    """

    def __init__(self, settings: QueueSettings, backlog: Backlog) -> None:
        self._most = settings.max_length
        self._largest = settings.max_bytes
        self._backlog = backlog
        self._late = settings.kind == "quorum"
        self._rejecting = False
        limited = self._most is not None or self._largest is not None
        self._rejects = limited and settings.overflow != "drop-head"
        self._drops = limited and settings.overflow == "drop-head"

    def rejects(self, message: Message) -> bool:
        """Return whether there is no room for a new message."""
        if not self._rejects:
            return False
        if not self._late:
            return self._over(1, len(message.body))
        if self._over():
            self._rejecting = True
        elif not self._over(share=SOFT_LIMIT):
            self._rejecting = False
        return self._rejecting

    def too_much(self) -> bool:
        """Return whether the head has to be dropped."""
        return self._drops and bool(self._backlog) and self._over()

    def _over(self, count: int = 0, size: int = 0, share: float = 1.0) -> bool:
        """Whether the queue, with so much more, is over that share of its limits."""
        most, largest, backlog = self._most, self._largest, self._backlog
        return (most is not None and len(backlog) + count > int(most * share)) or (
            largest is not None and backlog.size + size > int(largest * share)
        )
