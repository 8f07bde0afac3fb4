"""A queue broker in the kernel: AMQP 0-9-1 as RabbitMQ speaks it.

`broker` starts and stops it, `standalone` runs it in a process of its own, `stats` and
`timeline` are what it tells of itself. It has four wings, each built on those behind it:
`session` (a client, its connection and channels), `storage` (what survives a crash), `rules`
(exchanges, queues, expiry, dead letters) and `wire` (frames). `errors` are how it says no.

What is not supported is refused with 540 NOT_IMPLEMENTED (flags), 503 COMMAND_INVALID
(methods) or 406 PRECONDITION_FAILED (arguments), never ignored; only `no_local` changes
nothing, as in RabbitMQ. Messages are at most 16 MiB.

Sources: the AMQP 0-9-1 specification with its errata, RabbitMQ's guides, and RabbitMQ 3.10
itself: the tests in tests/engines run on both.
"""

from __future__ import annotations

from labsvc.amqp.broker import Broker
from labsvc.amqp.stats import BrokerStats, QueueStats
from labsvc.amqp.timeline import Depth

__all__ = ["Broker", "BrokerStats", "Depth", "QueueStats"]
