"""What a broker tells of itself: a snapshot, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue: messages that wait, messages handed out and not yet acked, consumers.

    `arriving` and `leaving` are messages per second, over the last second: published to
    the queue, and gone from it (acked, taken without ack, expired, dropped).
    """

    ready: int
    unacked: int
    consumers: int
    arriving: float = field(default=0.0, compare=False)
    leaving: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """What the broker holds now, and the messages it has counted since it started.

    `connections` and `channels` are open now. `redelivered` is part of `delivered`, which
    has basic.get in it. `acked` are answers of clients, without no-ack deliveries.
    """

    connections: int
    channels: int
    published: int
    confirmed: int
    delivered: int
    acked: int
    redelivered: int
    queues: dict[str, QueueStats]
