"""A consumer: what basic.consume makes, and how messages reach it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from labsvc.amqp.wire import frames

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.session.channel import Channel

_DELIVER_INDEX = b"\x00\x3c\x00\x3c"
_ENVELOPE = Struct(">BHI")
_TAG = Struct(">Q?")


class Consumer:
    """What basic.consume makes.

    Args:
        channel: where the deliveries go.
        queue: where they come from.
        tag: unique on the channel.
        no_ack: a message counts as acked once it is sent; prefetch does not apply.
        exclusive: the only consumer of its queue.
        prefetch: how many messages it may have unacked, 0 for any number.
        priority: a consumer of a higher one is asked first.

    """

    def __init__(
        self,
        channel: Channel,
        queue: Queue,
        tag: str,
        *,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
        priority: int = 0,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.parked = False
        self.unacked = 0
        self._prefetch = 0 if no_ack else prefetch
        self._start = _DELIVER_INDEX + frames.shortstr(tag)

    def wants(self) -> bool:
        """Whether it may be sent a message now."""
        if self._prefetch and self.unacked >= self._prefetch:
            return False
        channel = self.channel
        if channel.prefetch and not self.no_ack and channel.unacked.prefetched >= channel.prefetch:
            return False
        return channel.connection.writable()

    def deliver(self, entry: Entry) -> None:
        """Send a message to the client."""
        channel = self.channel
        if self.no_ack:
            tag = channel.unacked.next_tag()
        else:
            tag = channel.unacked.add(entry, self.queue, self)
        channel.delivered(entry, self.queue)
        # RabbitMQ shows a consumer no count of 0; only basic.get does.
        message = entry.counted() if entry.deliveries else entry.message
        start, number = self._start, channel.number
        connection = channel.connection
        connection.send(
            b"".join(
                (
                    _ENVELOPE.pack(
                        frames.METHOD, number, len(start) + _TAG.size + len(message.route)
                    ),
                    start,
                    _TAG.pack(tag, entry.redelivered),
                    message.route,
                    frames.END,
                    frames.content(number, message.header, message.body, connection.frame_max),
                )
            )
        )
