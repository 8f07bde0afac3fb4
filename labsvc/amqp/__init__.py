"""A queue broker in the kernel: AMQP 0-9-1 as RabbitMQ speaks it.

From the socket inwards: `wire` (frames) and `fields` (the values inside them), `stream`
(one socket, in turns), `connection` with `handshake` and `heart`, `channel` with its halves
`publishing` and `consumer`. Then the rules, without socket or clock: `vhost` (names and
routing), `exchange`, `queue`, `message`. `broker` starts, stops and counts.

Supported so far: the handshake with SASL PLAIN, heartbeats, channels, direct, fanout
and topic exchanges, queues, publish with confirms and returns, consume with prefetch,
get, ack, nack, reject, recover. All state is in memory. What is not supported is refused
with 540 NOT_IMPLEMENTED (methods, flags) or 406 PRECONDITION_FAILED (arguments).

Sources: the AMQP 0-9-1 specification with its errata, and RabbitMQ's guides to confirms,
consumer prefetch and negative acknowledgements.
"""

from __future__ import annotations

from labsvc.amqp.broker import Broker, BrokerStats, QueueStats

__all__ = ["Broker", "BrokerStats", "QueueStats"]
