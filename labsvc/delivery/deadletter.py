"""A queue that puts aside what nobody can handle, and the reason why it did.

A message that makes its consumer fail goes back to the head of the queue and fails again, for
ever. A quorum queue counts the tries and, past the limit, hands the message to a dead-letter
queue, where somebody can read it. Whoever only looks must not put back too often: RabbitMQ 4
limits every quorum queue to 20 returns, the dead-letter queue too. Notebook 51, claim C31;
RabbitMQ's guides "Quorum Queues" (poison messages) and "Dead Letter Exchanges".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

SUFFIX = ".dead"


@dataclass(frozen=True)
class Death:
    """Why a message left a queue, from one entry of its `x-death` header.

    `reason` is "delivery_limit", "rejected", "expired" or "maxlen"; `count` how often it left
    `queue` for this reason; `exchange` and `routing_keys` are those it was published with.
    """

    reason: str
    queue: str
    count: int
    exchange: str
    routing_keys: tuple[str, ...]


async def aio_declare_with_dead_letters(
    channel: AbstractChannel, name: str, *, deliveries: int = 3
) -> tuple[AbstractQueue, AbstractQueue]:
    """Declare the quorum queue `name` and its dead-letter queue `name` + ".dead"; return both.

    Args:
        channel: where to declare; it is closed by the broker if `name` exists with other arguments.
        name: of the queue that consumers read.
        deliveries: how often a message is delivered at most, 1 or more. The broker's argument
            `x-delivery-limit` counts the times it comes back, which is one less.

    Raises:
        ValueError: `deliveries` is less than 1.
        aio_pika.exceptions.ChannelPreconditionFailed: a queue of this name has other arguments.

    """
    if deliveries < 1:
        msg = f"deliveries must be 1 or more, not {deliveries}: 3 gives two more tries"
        raise ValueError(msg)
    # The dead-letter queue comes first: what has no queue to go to is dropped.
    dead = await channel.declare_queue(
        name + SUFFIX, durable=True, arguments={"x-queue-type": "quorum"}
    )
    queue = await channel.declare_queue(
        name,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": deliveries - 1,
            "x-dead-letter-exchange": "",  # the default exchange: the key is the queue's name
            "x-dead-letter-routing-key": dead.name,
        },
    )
    return queue, dead


def deaths(message: AbstractIncomingMessage) -> list[Death]:
    """Return why a message was dead-lettered, the latest first; [] if it was not."""
    entries = message.headers.get("x-death")
    if not isinstance(entries, list):
        return []
    return [_death(entry) for entry in entries if isinstance(entry, dict)]


def _death(entry: Mapping[str, object]) -> Death:
    count, keys = entry.get("count"), entry.get("routing-keys")
    return Death(
        reason=_text(entry.get("reason")),
        queue=_text(entry.get("queue")),
        count=count if isinstance(count, int) else 1,
        exchange=_text(entry.get("exchange")),
        routing_keys=tuple(map(_text, keys)) if isinstance(keys, list) else (),
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
