"""The values inside frames: numbers, strings, field tables.

The decoding is our own, because pamqp's accepts truncated strings, calls itself without bound
on nested tables and copies the rest of the data for each value. This one takes linear time,
bounds the nesting and leaves no byte unread. Type letters: RabbitMQ's errata to AMQP 0-9-1,
section 3.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812  # it is an exception class
from typing import TYPE_CHECKING, Any, NoReturn

from labsvc.amqp.errors import HardError, ReplyCode

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NESTING = 32  # tables within tables


class Cursor:
    """A position in a payload. Each method reads one value and moves on.

    Raises:
        HardError: 501, the payload ends too early, or its text is not UTF-8.

    """

    __slots__ = ("at", "data", "depth")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.depth = 0

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        start = self.at
        self.at = start + size
        if self.at > len(self.data):
            malformed("it ends inside a value")
        return self.data[start : self.at]

    def number(self, form: Struct) -> Any:
        """Read a number of the given form."""
        try:
            (value,) = form.unpack_from(self.data, self.at)
        except StructError:
            malformed("it ends inside a number")
        self.at += form.size
        return value

    def shortstr(self) -> str:
        """Read a short string: up to 255 bytes of UTF-8."""
        start = self.at + 1
        if start > len(self.data):
            malformed("it ends inside a number")
        self.at = start + self.data[self.at]
        if self.at > len(self.data):
            malformed("it ends inside a value")
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError as error:
            text = "the frame cannot be decoded: a short string is not UTF-8"
            raise HardError(ReplyCode.FRAME_ERROR, text, blames_method=False) from error

    def longstr(self) -> bytes:
        """Read a long string, which is bytes to AMQP."""
        return self.take(self.number(_LONG))

    def table(self) -> dict[str, Any]:
        """Read a field table."""
        table: dict[str, Any] = {}
        end = self._enter()
        while self.at < end:
            name = self.shortstr()
            table[name] = self.value()
        self._leave(end)
        return table

    def _array(self) -> list[Any]:
        values = []
        end = self._enter()
        while self.at < end:
            values.append(self.value())
        self._leave(end)
        return values

    def _enter(self) -> int:
        size: int = self.number(_LONG)
        self.depth += 1
        if self.depth > MAX_NESTING:
            malformed(f"tables are nested more than {MAX_NESTING} deep")
        return self.at + size

    def _leave(self, end: int) -> None:
        self.depth -= 1
        if self.at != end:
            malformed("a table is longer than its size")

    def value(self) -> Any:
        """Read a value of a table or an array, behind the letter of its type."""
        letter = self.take(1)
        form = NUMBERS.get(letter)
        if form is not None:
            return self.number(form)
        read = _COMPOUNDS.get(letter)
        if read is None:
            malformed(f"unknown type {letter!r} in a table")
        return read(self)

    def decimal(self) -> tuple[int, int]:
        """Read a decimal as (digits after the point, unscaled value)."""
        return self.number(_OCTET), self.number(NUMBERS[b"I"])


_OCTET = Struct(">B")
_SHORT = Struct(">H")
_LONG = Struct(">I")
_LONGLONG = Struct(">Q")
NUMBERS = {  # by the letter of the type
    b"t": Struct(">?"),
    b"b": Struct(">b"),
    b"B": _OCTET,
    b"s": Struct(">h"),
    b"u": _SHORT,
    b"I": Struct(">i"),
    b"i": _LONG,
    b"l": Struct(">q"),
    b"L": Struct(">q"),
    b"f": Struct(">f"),
    b"d": Struct(">d"),
    b"T": _LONGLONG,
}
_COMPOUNDS: dict[bytes, Callable[[Cursor], Any]] = {
    b"S": Cursor.longstr,
    b"x": Cursor.longstr,
    b"F": Cursor.table,
    b"A": Cursor._array,  # noqa: SLF001  # of this module
    b"D": Cursor.decimal,
    b"V": lambda _: None,
}
READERS: dict[str, Callable[[Cursor], Any]] = {  # by the names that pamqp has for types
    "octet": lambda cursor: cursor.number(_OCTET),
    "short": lambda cursor: cursor.number(_SHORT),
    "long": lambda cursor: cursor.number(_LONG),
    "longlong": lambda cursor: cursor.number(_LONGLONG),
    "timestamp": lambda cursor: cursor.number(_LONGLONG),
    "shortstr": Cursor.shortstr,
    "longstr": Cursor.longstr,
    "table": Cursor.table,
}


def malformed(why: str) -> NoReturn:
    """Refuse a payload that cannot be decoded: 501."""
    text = f"the frame cannot be decoded: {why}"
    raise HardError(ReplyCode.FRAME_ERROR, text)
