"""What a queue and a consumer were declared with: their `x-` arguments, read and checked.

Names, limits and texts are RabbitMQ 3.10's (guides "Queues", "Time-to-live", "Quorum
queues"). One difference is deliberate: RabbitMQ ignores an argument that it does not know
and some that it does; here it is refused with 406, so that nobody relies on what is not done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labsvc.amqp.rules.arguments import ArgumentReader, check_same, precondition_failed

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PRIORITY = 255

_BOTH = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
)
_SUPPORTED = {
    "classic": (*_BOTH, "x-max-priority"),
    "quorum": (*_BOTH, "x-delivery-limit"),
}
_OVERFLOWS = {
    "classic": ("drop-head", "reject-publish", "reject-publish-dlx"),
    "quorum": ("drop-head", "reject-publish"),
}


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue was declared with. None: not set.

    `kind` is "classic" or "quorum". `message_ttl` and `expires` are in milliseconds,
    `max_bytes` counts bodies. `overflow` is "drop-head", "reject-publish" or
    "reject-publish-dlx". `arguments` are the arguments as they were declared.
    """

    kind: str = "classic"
    message_ttl: int | None = None
    expires: int | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_priority: int | None = None
    delivery_limit: int | None = None
    single_active: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        arguments: Mapping[str, Any],
        *,
        queue: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
    ) -> QueueSettings:
        """Read the arguments of queue.declare, decoded by `wire.cursor` (strings are bytes).

        `queue` names the queue in texts: "queue 'q' in vhost '/'".

        Raises:
            SoftError: 406, an argument is unknown, has a wrong value, or does not go with
                the type of the queue.

        """
        reader = ArgumentReader(arguments, queue)
        kind = reader.text("x-queue-type") or "classic"
        if kind not in _SUPPORTED:
            reader.refuse("x-queue-type", f"\"unsupported queue type '{kind}'\"")
        if kind == "quorum":
            for wrong, name in (
                (exclusive, "exclusive-owner"),
                (auto_delete, "auto-delete"),
                (not durable, "non-durable"),
            ):
                if wrong:
                    precondition_failed(f"invalid property '{name}' for {queue}")
        _refuse_unsupported(arguments, kind, queue)
        exchange = reader.dead_letter_exchange()
        key = reader.text("x-dead-letter-routing-key")
        if key is not None and exchange is None:
            reader.refuse("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
        overflow = reader.text("x-overflow") or "drop-head"
        if overflow not in _OVERFLOWS[kind]:
            reader.refuse("x-overflow", "invalid_overflow")
        return cls(
            kind=kind,
            message_ttl=reader.milliseconds("x-message-ttl"),
            expires=reader.milliseconds("x-expires", zero=False),
            max_length=reader.count("x-max-length"),
            max_bytes=reader.count("x-max-length-bytes"),
            overflow=overflow,
            dead_letter_exchange=exchange,
            dead_letter_key=key,
            max_priority=reader.count("x-max-priority", largest=MAX_PRIORITY),
            delivery_limit=reader.count("x-delivery-limit"),
            single_active=reader.flag("x-single-active-consumer"),
            arguments=dict(arguments),
        )

    def check_same(self, arguments: Mapping[str, Any], *, queue: str) -> None:
        """Compare the arguments of a declaration of a queue that exists.

        Raises:
            SoftError: 406, they are not those it was made with, or one is not supported.

        """
        for name in _SUPPORTED[self.kind]:
            check_same(name, queue, received=arguments.get(name), current=self.arguments.get(name))
        _refuse_unsupported(arguments, self.kind, queue)


def consumer_priority(arguments: Mapping[str, Any], *, queue: str) -> int:
    """Read the arguments of basic.consume: the consumer's `x-priority`, 0 if not set.

    Raises:
        SoftError: 406, an argument is not supported, or the priority is no integer.

    """
    reader = ArgumentReader(arguments, queue)
    priority = reader.integer("x-priority") or 0
    for name in arguments:
        if name != "x-priority":
            what = f"argument '{name}' of a consumer of {queue}"
            precondition_failed(f"{what} is not supported: leave it out")
    return priority


def _refuse_unsupported(arguments: Mapping[str, Any], kind: str, queue: str) -> None:
    for name in arguments:
        if name in _SUPPORTED[kind]:
            continue
        if any(name in others for others in _SUPPORTED.values()):
            what = f"{queue} of queue type rabbit_{kind}_queue"
            precondition_failed(f"invalid arg '{name}' for {what}")
        precondition_failed(f"argument '{name}' for {queue} is not supported: leave it out")
