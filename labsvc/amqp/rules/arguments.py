"""Arguments of any declaration: read with their types, compared, and named as RabbitMQ does.

Limits and texts are RabbitMQ 3.10's (guides "Queues", "Time-to-live").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from labsvc.amqp.errors import ReplyCode, SoftError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MILLISECONDS = 315_360_000_000  # ten years, the longest TTL or expiry


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
    precondition_failed(
        f"inequivalent arg '{name}' for {what}: received {show(received)}"
        f" but current is {show(current)}"
    )


class ArgumentReader:
    """Reads typed values out of a table of arguments; None: not set.

    Args:
        arguments: decoded by `wire.cursor`, so strings are bytes.
        queue: names the queue in texts: "queue 'q' in vhost '/'".

    Raises:
        SoftError: 406, a value is of a wrong type or out of its bounds. From each method.

    """

    def __init__(self, arguments: Mapping[str, Any], queue: str) -> None:
        self._arguments = arguments
        self._queue = queue

    def refuse(self, name: str, why: str) -> NoReturn:
        """Refuse the value of an argument."""
        precondition_failed(f"invalid arg '{name}' for {self._queue}: {why}")

    def text(self, name: str) -> str | None:
        """Read a string."""
        value = self._typed(name, bytes, lambda kind: f"{{unacceptable_type,{kind}}}")
        return None if value is None else value.decode(errors="replace")

    def flag(self, name: str) -> bool:
        """Read a truth value; False if not set."""
        return bool(self._typed(name, bool, lambda kind: f"{{unacceptable_type,{kind}}}"))

    def integer(self, name: str) -> int | None:
        """Read an integer."""
        value: int | None = self._typed(name, int, lambda kind: f'"expected integer, got {kind}"')
        return value

    def count(self, name: str, *, largest: int | None = None) -> int | None:
        """Read an integer that is not negative, nor above `largest`."""
        value = self.integer(name)
        if value is not None and value < 0:
            self.refuse(name, f"{{value_negative,{value}}}")
        if value is not None and largest is not None and value > largest:
            self.refuse(name, f"{{max_value_exceeded,{value}}}")
        return value

    def milliseconds(self, name: str, *, zero: bool = True) -> int | None:
        """Read a time; `zero`: 0 is allowed."""
        value = self.count(name)
        if value == 0 and not zero:
            self.refuse(name, "{value_zero,0}")
        if value is not None and value > MAX_MILLISECONDS:
            self.refuse(name, f"{{value_too_large,{value}}}")
        return value

    def dead_letter_exchange(self) -> str | None:
        """Read the name of the dead letter exchange, whose type has a text of its own."""
        name = "x-dead-letter-exchange"
        value = self._arguments.get(name, b"")
        if not isinstance(value, bytes):
            kind = kind_of(value)
            precondition_failed(f"invalid type '{kind}' for arg '{name}' in {self._queue}")
        return self.text(name)

    def _typed(self, name: str, wanted: type, why: Callable[[str], str]) -> Any:
        if name not in self._arguments:
            return None
        value = self._arguments[name]
        if type(value) is not wanted:
            self.refuse(name, why(kind_of(value)))
        return value


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


def precondition_failed(text: str) -> NoReturn:
    """Refuse a declaration: 406."""
    raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
