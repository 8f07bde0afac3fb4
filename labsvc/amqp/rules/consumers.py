"""The consumers of a queue: who may be one, and which of them is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.amqp.rules.rotation import Taker
    from labsvc.amqp.rules.settings import QueueSettings


class Consumers:
    """Consumers in the order in which they came.

    `rotation` has those that may be asked: all, or the single active one, in `active`.

    Args:
        settings: of the queue.
        title: names the queue in texts: "queue 'q' in vhost '/'".

    """

    def __init__(self, settings: QueueSettings, title: str) -> None:
        self.active: Taker | None = None
        self.rotation = Rotation()
        self._single = settings.single_active
        self._quorum = settings.kind == "quorum"
        self._title = title
        self._all: list[Taker] = []

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def __iter__(self) -> Iterator[Taker]:
        """Iterate over all of them."""
        return iter(self._all)

    def add(self, consumer: Taker) -> None:
        """Add a consumer.

        Raises:
            SoftError: 403, it or another consumer asked to be the only one.

        """
        contradicts = consumer.exclusive and self._single and not self._quorum
        if contradicts or (self._all and (consumer.exclusive or self._all[0].exclusive)):
            text = f"{self._title} in exclusive use"
            raise SoftError(ReplyCode.ACCESS_REFUSED, text)
        consumer.parked = False
        self._all.append(consumer)
        if self._single:
            self._activate()
        else:
            self.rotation.add(consumer)

    def remove(self, consumer: Taker) -> None:
        """Remove a consumer."""
        self._all.remove(consumer)
        self.rotation.discard(consumer)
        if consumer is self.active:
            self.active = None
            self._activate()

    def _activate(self) -> None:
        """Choose the single active consumer, if there is none."""
        if self.active is None and self._all:
            self.active = self._all[0]
            if not self._quorum:  # quorum queues of 3.10 do not look at the priority here
                self.active = max(self._all, key=lambda consumer: consumer.priority)
            self.rotation.add(self.active)
