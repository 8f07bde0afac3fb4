"""Publisher confirms: what a channel owes its client (RabbitMQ's guide "Confirms")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.amqp.wire.frames import ack, nack
from labsvc.timeline import record

if TYPE_CHECKING:
    from labsvc.amqp.rules.message import Message


class Confirms:
    """The publishes of one channel that wait for an answer. `on` is set by confirm.select."""

    def __init__(self) -> None:
        self.on = False
        self._published = 0  # since confirm.select: the tag of the last publish
        self._confirmed = 0
        self._rejected: list[int] = []  # tags, of those not confirmed
        self._noted: list[tuple[Message, bool]] = []  # kept for a timeline only

    def add(self, message: Message, *, taken: bool) -> bool:
        """Count a publish that all its queues took, or not; return whether no other waits."""
        if record.current() is not None:
            self._noted.append((message, taken))
        first = self._published == self._confirmed
        self._published += 1
        if not taken:
            self._rejected.append(self._published)
        return first

    def noted(self) -> list[tuple[Message, bool]]:
        """Take out what was published while somebody recorded, and whether it was taken."""
        noted, self._noted = self._noted, []
        return noted

    def answer(self, channel: int) -> tuple[list[bytes], int]:
        """Answer all that wait: in one frame, unless some was rejected.

        Returns the frames, and how many publishes were confirmed.
        """
        frames: list[bytes] = []
        confirmed = self._published - self._confirmed - len(self._rejected)
        for tag in self._rejected:
            frames += self._acks(channel, tag - 1)
            frames.append(nack(channel, tag))
            self._confirmed = tag
        self._rejected.clear()
        frames += self._acks(channel, self._published)
        return frames, confirmed

    def _acks(self, channel: int, tag: int) -> list[bytes]:
        """Confirm up to a tag, in one frame at most."""
        count = tag - self._confirmed
        self._confirmed = tag
        return [ack(channel, tag, multiple=count > 1)] if count else []
