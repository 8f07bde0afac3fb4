"""A queue broker in the kernel: AMQP 0-9-1 as RabbitMQ speaks it.

From the socket inwards: `wire` (frames) and `fields` (the values inside them), `stream`
(one socket, in turns), `connection` with `handshake` and `heart`, `channels` and `channel`.
The methods of a channel: `publishing`, `declaring`, `consuming`, `answering`, `tx`. Then
the rules, without a socket: `vhost` and `exchanges` (names), `matching` and `routing` (the
way of a message), `queue` with `arguments`, `backlog`, `turns`, `expiry` and `deadletter`,
`message`. What survives a crash: `journal`, `store`, `recovery`. `broker` starts and stops
all of it, `timeline` and `memory` watch it.

What is not supported is refused with 540 NOT_IMPLEMENTED (flags), 503 COMMAND_INVALID
(methods) or 406 PRECONDITION_FAILED (arguments), never ignored; only `no_local` changes
nothing, as in RabbitMQ. Messages are at most 16 MiB.

Sources: the AMQP 0-9-1 specification with its errata, RabbitMQ's guides, and RabbitMQ 3.10
itself: the tests in tests/engines run on both.
"""

from __future__ import annotations

from labsvc.amqp.broker import Broker, BrokerStats, QueueStats
from labsvc.amqp.timeline import Depth

__all__ = ["Broker", "BrokerStats", "Depth", "QueueStats"]
