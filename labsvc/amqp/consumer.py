"""The consuming half of a channel: subscriptions, and what was handed out to them."""

from __future__ import annotations

from itertools import takewhile
from struct import Struct
from typing import TYPE_CHECKING

from labsvc.amqp import wire
from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from labsvc.amqp.channel import Channel
    from labsvc.amqp.queue import Entry, Queue

_DELIVER_INDEX = b"\x00\x3c\x00\x3c"
_ENVELOPE = Struct(">BHI")
_TAG = Struct(">Q?")


class Delivery:
    """A message that was handed out and waits for its ack."""

    __slots__ = ("consumer", "entry", "queue")

    def __init__(self, entry: Entry, queue: Queue, consumer: Consumer | None) -> None:
        self.entry = entry
        self.queue = queue
        self.consumer = consumer  # None: basic.get, to which prefetch does not apply


class Unacked:
    """The deliveries of one channel that wait for an answer, by delivery tag.

    `prefetched` counts those that prefetch limits.
    """

    def __init__(self) -> None:
        self.prefetched = 0
        self._last_tag = 0
        self._waiting: dict[int, Delivery] = {}  # oldest first

    def __len__(self) -> int:
        """Return how many deliveries wait."""
        return len(self._waiting)

    def next_tag(self) -> int:
        """Return a tag for a delivery that needs no answer."""
        self._last_tag += 1
        return self._last_tag

    def add(self, entry: Entry, queue: Queue, consumer: Consumer | None) -> int:
        """Note a delivery; return its tag."""
        self._last_tag += 1
        self._waiting[self._last_tag] = Delivery(entry, queue, consumer)
        if consumer is not None:
            consumer.unacked += 1
            self.prefetched += 1
        return self._last_tag

    def answered(self, tag: int, *, multiple: bool) -> list[Delivery]:
        """Remove the deliveries that an answer speaks of: one, or all up to a tag (0: all).

        Raises:
            SoftError: 406, there is none.

        """
        if not multiple:
            tags = [tag] if tag in self._waiting else []
        elif tag:
            tags = list(takewhile(lambda old: old <= tag, self._waiting))
        else:
            return self.drain()
        if not tags:
            text = f"unknown delivery tag {tag}"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        return [self._remove(old) for old in tags]

    def drain(self) -> list[Delivery]:
        """Remove all deliveries."""
        return [self._remove(old) for old in list(self._waiting)]

    def _remove(self, tag: int) -> Delivery:
        delivery = self._waiting.pop(tag)
        if delivery.consumer is not None:
            delivery.consumer.unacked -= 1
            self.prefetched -= 1
        return delivery


class Consumer:
    """What basic.consume makes.

    Args:
        channel: where the deliveries go.
        queue: where they come from.
        tag: unique on the channel.
        no_ack: a message counts as acked once it is sent; prefetch does not apply.
        exclusive: the only consumer of its queue.
        prefetch: how many messages it may have unacked, 0 for any number.

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
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.parked = False
        self.unacked = 0
        self._prefetch = 0 if no_ack else prefetch
        self._start = _DELIVER_INDEX + wire.shortstr(tag)

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
        channel.vhost.counters.handed_out(redelivered=entry.redelivered)
        message, start, number = entry.message, self._start, channel.number
        connection = channel.connection
        connection.send(
            b"".join(
                (
                    _ENVELOPE.pack(
                        wire.METHOD, number, len(start) + _TAG.size + len(message.route)
                    ),
                    start,
                    _TAG.pack(tag, entry.redelivered),
                    message.route,
                    wire.END,
                    wire.content(number, message, connection.frame_max),
                )
            )
        )
