"""What a channel has done since tx.select, and has had no effect yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.session.unacked import Answer, Delivery


class Routed(NamedTuple):
    """A message on its way to the queues that its publish found."""

    message: Message
    queues: Sequence[Queue]
    mandatory: bool


class Transaction:
    """Publishes, and answers to deliveries that were taken out of the unacked ones."""

    def __init__(self) -> None:
        self.publishes: list[Routed] = []
        self.answers: list[tuple[Answer, list[Delivery]]] = []

    def take(self) -> tuple[list[Routed], list[tuple[Answer, list[Delivery]]]]:
        """Take out what is to take effect now."""
        taken = self.publishes, self.answers
        self.publishes, self.answers = [], []
        return taken

    def roll_back(self) -> list[Delivery]:
        """Forget it; return the deliveries, which wait for their answer again."""
        _, answers = self.take()
        return [each for _, deliveries in answers for each in deliveries]
