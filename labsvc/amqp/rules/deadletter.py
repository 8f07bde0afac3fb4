"""Dead letters: messages that expired, were rejected or found no room, sent on elsewhere.

Why a message died stands in its headers as RabbitMQ 3.10 writes them (guide "Dead Letter
Exchanges"): `x-death`, one table for each queue and reason with a count, the latest first,
and `x-first-death-queue`, `-reason` and `-exchange`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from labsvc.amqp.rules.message import Message
from labsvc.amqp.wire import encoded
from labsvc.amqp.wire.content_header import EncodedHeader, decode_content_header
from labsvc.amqp.wire.cursor import Cursor
from labsvc.amqp.wire.frames import shortstr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labsvc.amqp.rules.clock import Clock
    from labsvc.amqp.rules.queue import Queue
    from labsvc.amqp.rules.traced import Traced

    Route = Callable[[str, tuple[str, ...], Mapping[str, Any]], Sequence[Queue]]
    Death = dict[str, bytes]  # a table of x-death, its values encoded


class DeadLetters:
    """Sends dead messages on; what a queue takes for `dead_letter`.

    A message that would come back to a queue without having been rejected on the way is
    dropped: it would go round for ever.

    Args:
        route: from exchange, routing keys and headers to queues; none if the exchange is gone.
        clock: tells the time.
        traced: notes it on a timeline.

    """

    def __init__(self, route: Route, clock: Clock, traced: Traced) -> None:
        self._route = route
        self._traced = traced
        self._clock = clock
        self._waiting: deque[tuple[str, Message]] = deque()
        self._busy = False

    def __call__(self, message: Message, reason: str, queue: Queue) -> None:
        """Send a message on that died in a queue, if that queue has an exchange for it."""
        exchange = queue.settings.dead_letter_exchange
        if exchange is None:
            if reason != "rejected":  # which its consumer said already
                self._traced.note("expired", message, queue.name, detail=reason)
            return
        letter = buried(message, reason, queue, self._clock.now())
        self._traced.handed_on(message, letter)
        self._traced.note("dead-lettered", message, queue.name, detail=reason)
        self._waiting.append((exchange, letter))
        if not self._busy:  # a letter that dies again waits: no recursion, however long the chain
            self._busy = True
            try:
                self._send()
            finally:
                self._busy = False

    def _send(self) -> None:
        while self._waiting:
            exchange, message = self._waiting.popleft()
            found = decode_content_header(message.header).properties["headers"]
            for queue in self._route(exchange, (message.key, *message.copies), found):
                if not _circles(queue.name, found["x-death"]):
                    queue.publish(message)


def buried(message: Message, reason: str, queue: Queue, now: float) -> Message:
    """Return the message that is sent on for one that died.

    Args:
        message: what died.
        reason: "rejected", "expired", "maxlen" or "delivery_limit".
        queue: where it died; its settings name the exchange and perhaps a new routing key.
        now: the time, in seconds since the epoch.

    """
    exchange, key = queue.settings.dead_letter_exchange or "", queue.settings.dead_letter_key
    header = EncodedHeader(message.header)
    fields = header.headers
    keys = [encoded.text(message.key), *_carbon_copies(fields)]
    death = {
        "count": encoded.long(1),
        "reason": encoded.text(reason),
        "queue": encoded.text(queue.name),
        "time": encoded.timestamp(now),
        "exchange": encoded.text(message.exchange),
        "routing-keys": encoded.array(keys),
    }
    expiration = header.properties.pop("expiration", None)
    if expiration is not None:
        death["original-expiration"] = encoded.text(expiration[1:].decode())
    _add(fields, death)
    if key is not None:
        fields.pop("CC", None)
    header.headers = dict(sorted(fields.items()))
    return Message(
        shortstr(exchange) + shortstr(message.key if key is None else key),
        header.pack(),
        message.body,
        persistent=message.persistent,
        priority=message.priority,
        copies=message.copies if key is None else (),
    )


def _add(fields: dict[str, bytes], death: Death) -> None:
    """Add a death to the headers of a message."""
    earlier = fields.get("x-death", b"A\0\0\0\0")
    if "x-death" not in fields:
        fields["x-first-death-reason"] = death["reason"]
        fields["x-first-death-queue"] = death["queue"]
        fields["x-first-death-exchange"] = death["exchange"]
    elif not earlier.startswith(b"A"):
        earlier = b"A\0\0\0\0"
    others = []
    for known in _grouped(_deaths({"x-death": earlier})):
        if _place(known) == _place(death):
            death = known | {"count": encoded.long(_count(known) + 1)}
        else:
            others.append(known)
    fields["x-death"] = encoded.array(encoded.table(one) for one in (death, *others))


def _deaths(fields: Mapping[str, bytes]) -> list[Death]:
    values = encoded.split_array(fields["x-death"])
    return [encoded.split_table(value[1:]) for value in values if value.startswith(b"F")]


def _grouped(deaths: list[Death]) -> list[Death]:
    """Return one table for each queue and reason, with a count.

    RabbitMQ turns the order round while it does so; a single table it leaves as it is.
    """
    if len(deaths) < 2:  # noqa: PLR2004
        return deaths
    groups: dict[object, list[Death]] = {}
    for death in deaths:
        groups.setdefault(_place(death), []).append(death)
    found = reversed(groups.values())
    return [{"count": encoded.long(len(group))} | group[0] for group in found]


def _place(death: Death) -> tuple[bytes | None, bytes | None]:
    return death.get("queue"), death.get("reason")


def _count(death: Death) -> int:
    count = Cursor(death["count"]).value() if "count" in death else 0
    return count if isinstance(count, int) else 0


def _carbon_copies(fields: Mapping[str, bytes]) -> list[bytes]:
    copies = fields.get("CC", b"")
    return encoded.split_array(copies) if copies.startswith(b"A") else []


def _circles(queue: str, deaths: list[dict[str, Any]]) -> bool:
    """Whether a message was in a queue before and no consumer has rejected it since."""
    for death in deaths:
        if death.get("reason") == b"rejected":
            return False
        if death.get("queue") == queue.encode():
            return True
    return False
