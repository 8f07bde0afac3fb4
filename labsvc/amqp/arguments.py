"""The `x-` arguments of queues and consumers, read into what the broker acts on.

Names, limits and texts are RabbitMQ 3.10's (guides "Queues", "Time-to-live", "Quorum
queues"). One difference is deliberate: RabbitMQ ignores an argument that it does not know
and some that it does; here it is refused with 406, so that nobody relies on what is not done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MILLISECONDS = 315_360_000_000  # ten years, the longest TTL or expiry
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
        """Read the arguments of queue.declare, decoded by `fields` (strings are bytes).

        `queue` names the queue in texts: "queue 'q' in vhost '/'".

        Raises:
            SoftError: 406, an argument is unknown, has a wrong value, or does not go with
                the type of the queue.

        """
        reader = _Reader(arguments, queue)
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
                    _precondition(f"invalid property '{name}' for {queue}")
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
    reader = _Reader(arguments, queue)
    priority = reader.integer("x-priority") or 0
    for name in arguments:
        if name != "x-priority":
            what = f"argument '{name}' of a consumer of {queue}"
            _precondition(f"{what} is not supported: leave it out")
    return priority


def expiration_of(text: str | None) -> int | None:
    """Read the message property `expiration`, in milliseconds.

    Raises:
        SoftError: 406, it is no number, negative or too large.

    """
    if text is None:
        return None
    why = _not_milliseconds(text)
    if why:
        _precondition(f"invalid expiration '{text}': {why}")
    return int(text)


def _not_milliseconds(text: str) -> str:
    """Return what is wrong with it, empty if nothing."""
    digits = text[text.startswith(("+", "-")) :]
    number = len(digits) - len(digits.lstrip("0123456789"))
    if not number:
        return "no_integer"
    if number < len(digits):
        return f'{{leftover_string,"{digits[number:]}"}}'
    if int(text) < 0:
        return f"{{value_negative,{int(text)}}}"
    if int(text) > MAX_MILLISECONDS:
        return f"{{value_too_large,{int(text)}}}"
    return ""


def check_same(name: str, what: str, *, received: object, current: object) -> None:
    """Compare one argument of a declaration with that of what exists. None: not set.

    Raises:
        SoftError: 406, they differ.

    """
    if received == current and type(received) is type(current):
        return
    if name == "x-queue-type" and {received, current} == {None, b"classic"}:
        return
    show = _typed if received is None or current is None else _quoted
    _precondition(
        f"inequivalent arg '{name}' for {what}: received {show(received)}"
        f" but current is {show(current)}"
    )


class _Reader:
    """Reads typed values out of a table of arguments."""

    def __init__(self, arguments: Mapping[str, Any], queue: str) -> None:
        self._arguments = arguments
        self._queue = queue

    def refuse(self, name: str, why: str) -> NoReturn:
        _precondition(f"invalid arg '{name}' for {self._queue}: {why}")

    def text(self, name: str) -> str | None:
        value = self._typed(name, bytes, lambda kind: f"{{unacceptable_type,{kind}}}")
        return None if value is None else value.decode(errors="replace")

    def flag(self, name: str) -> bool:
        return bool(self._typed(name, bool, lambda kind: f"{{unacceptable_type,{kind}}}"))

    def integer(self, name: str) -> int | None:
        value: int | None = self._typed(name, int, lambda kind: f'"expected integer, got {kind}"')
        return value

    def count(self, name: str, *, largest: int | None = None) -> int | None:
        value = self.integer(name)
        if value is not None and value < 0:
            self.refuse(name, f"{{value_negative,{value}}}")
        if value is not None and largest is not None and value > largest:
            self.refuse(name, f"{{max_value_exceeded,{value}}}")
        return value

    def milliseconds(self, name: str, *, zero: bool = True) -> int | None:
        value = self.count(name)
        if value == 0 and not zero:
            self.refuse(name, "{value_zero,0}")
        if value is not None and value > MAX_MILLISECONDS:
            self.refuse(name, f"{{value_too_large,{value}}}")
        return value

    def dead_letter_exchange(self) -> str | None:
        name = "x-dead-letter-exchange"
        value = self._arguments.get(name, b"")
        if not isinstance(value, bytes):
            _precondition(f"invalid type '{kind_of(value)}' for arg '{name}' in {self._queue}")
        return self.text(name)

    def _typed(self, name: str, wanted: type, why: Callable[[str], str]) -> Any:
        if name not in self._arguments:
            return None
        value = self._arguments[name]
        if type(value) is not wanted:
            self.refuse(name, why(kind_of(value)))
        return value


def _refuse_unsupported(arguments: Mapping[str, Any], kind: str, queue: str) -> None:
    for name in arguments:
        if name in _SUPPORTED[kind]:
            continue
        if any(name in others for others in _SUPPORTED.values()):
            _precondition(f"invalid arg '{name}' for {queue} of queue type rabbit_{kind}_queue")
        _precondition(f"argument '{name}' for {queue} is not supported: leave it out")


_INT32 = 2**31
_KINDS = {
    bool: "bool",
    bytes: "longstr",
    float: "double",
    type(None): "void",
    list: "array",
    dict: "table",
    tuple: "decimal",
}


def kind_of(value: object) -> str:
    """Return RabbitMQ's name of a value's type; of integers, that which most clients send."""
    if type(value) is int:
        return "signedint" if -_INT32 <= value < _INT32 else "long"
    return _KINDS[type(value)]


def _quoted(value: object) -> str:
    if isinstance(value, bytes):
        return f"'{value.decode(errors='replace')}'"
    return f"'{str(value).lower()}'"


def _typed(value: object) -> str:
    if value is None:
        return "none"
    return f"the value {_quoted(value)} of type '{kind_of(value)}'"


def _precondition(text: str) -> NoReturn:
    raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
