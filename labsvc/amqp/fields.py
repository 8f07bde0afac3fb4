"""The values inside frames: method arguments, field tables, message properties.

pamqp says which methods exist and which fields they have; the decoding is our own,
because pamqp's accepts truncated strings, calls itself without bound on nested tables and
copies the rest of the data for each value. This one takes linear time, bounds the nesting
and leaves no byte unread. Type letters: RabbitMQ's errata to AMQP 0-9-1, section 3.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  # it is an exception class
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pamqp.commands import INDEX_MAPPING, Basic

from labsvc.amqp.errors import HardError, ReplyCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pamqp.base import Frame

MAX_NESTING = 32  # tables within tables
BASIC_CLASS = 60

_INDEX = Struct(">I")
_CONTENT = Struct(">HHQH")


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
            _malformed("it ends inside a value")
        return self.data[start : self.at]

    def number(self, form: Struct) -> Any:
        """Read a number of the given form."""
        try:
            (value,) = form.unpack_from(self.data, self.at)
        except StructError:
            _malformed("it ends inside a number")
        self.at += form.size
        return value

    def shortstr(self) -> str:
        """Read a short string: up to 255 bytes of UTF-8."""
        start = self.at + 1
        if start > len(self.data):
            _malformed("it ends inside a number")
        self.at = start + self.data[self.at]
        if self.at > len(self.data):
            _malformed("it ends inside a value")
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
            _malformed(f"tables are nested more than {MAX_NESTING} deep")
        return self.at + size

    def _leave(self, end: int) -> None:
        self.depth -= 1
        if self.at != end:
            _malformed("a table is longer than its size")

    def value(self) -> Any:
        """Read a value of a table or an array, behind the letter of its type."""
        letter = self.take(1)
        form = _NUMBERS.get(letter)
        if form is not None:
            return self.number(form)
        read = _COMPOUNDS.get(letter)
        if read is None:
            _malformed(f"unknown type {letter!r} in a table")
        return read(self)

    def decimal(self) -> tuple[int, int]:
        """Read a decimal as (digits after the point, unscaled value)."""
        return self.number(_OCTET), self.number(_NUMBERS[b"I"])


_OCTET = Struct(">B")
_SHORT = Struct(">H")
_LONG = Struct(">I")
_LONGLONG = Struct(">Q")
_NUMBERS = {
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
_ARGUMENTS: dict[str, Callable[[Cursor], Any]] = {
    "octet": lambda cursor: cursor.number(_OCTET),
    "short": lambda cursor: cursor.number(_SHORT),
    "long": lambda cursor: cursor.number(_LONG),
    "longlong": lambda cursor: cursor.number(_LONGLONG),
    "timestamp": lambda cursor: cursor.number(_LONGLONG),
    "shortstr": Cursor.shortstr,
    "longstr": Cursor.longstr,
    "table": Cursor.table,
}


def method_index(payload: bytes) -> int:
    """Return the class (upper 16 bits) and method (lower 16) of a method payload.

    Raises:
        HardError: 501, the payload is too short.

    """
    try:
        (index,) = _INDEX.unpack_from(payload)
    except StructError:
        _malformed("a method frame needs at least 4 bytes")
    return int(index)


def decode_method(payload: bytes) -> Frame:
    """Decode a method frame into the pamqp command of that class and method.

    Raises:
        HardError: 540, no such method; 501, its arguments cannot be read.

    """
    index = method_index(payload)
    command = INDEX_MAPPING.get(index)
    if command is None:
        text = f"there is no method {index & 0xFFFF} in class {index >> 16}"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    method: Frame = command()
    cursor = Cursor(payload, _INDEX.size)
    bit = 0
    for name in method.attributes():
        kind = method.amqp_type(name)
        if kind == "bit":
            if bit % 8 == 0:
                bits: int = cursor.number(_OCTET)
            setattr(method, name, bool(bits >> bit % 8 & 1))
            bit += 1
        else:
            bit = 0
            setattr(method, name, _ARGUMENTS[kind](cursor))
    if cursor.at != len(payload):
        _malformed("bytes are left over after the last argument")
    return method


class ContentHeader(NamedTuple):
    """What the broker has to know of a content header; the rest passes through unread.

    `body_size` is in bytes. `properties` has the properties that are set, by their names
    in pamqp (`headers`, `delivery_mode`, `expiration`, ...).
    """

    body_size: int
    properties: dict[str, Any]


def decode_content_header(payload: bytes) -> ContentHeader:
    """Decode a content header, in full, so that no consumer gets one that is malformed.

    Raises:
        HardError: 501, it cannot be read; 505, it is not of class basic; 541, it has unknown
            properties.

    """
    try:
        class_id, _weight, body_size, flags = _CONTENT.unpack_from(payload)
    except StructError:
        _malformed("a content header needs at least 14 bytes")
    if class_id != BASIC_CLASS:
        text = f"expected a content header of class {BASIC_CLASS}, got class {class_id}"
        raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
    cursor = Cursor(payload, _CONTENT.size)
    properties = {name: read(cursor) for name, read in properties_of(flags)}
    if cursor.at != len(payload):
        _malformed("bytes are left over after the last property")
    return ContentHeader(body_size, properties)


@lru_cache(maxsize=256)
def properties_of(flags: int) -> list[tuple[str, Callable[[Cursor], Any]]]:
    """Return the properties of a content header in order, each with how to read it.

    Raises:
        HardError: 501, the flags name an unknown property.

    """
    known = Basic.Properties.flags
    if flags & ~sum(known.values()):
        text = f"property flags {flags:#06x} name unknown properties"
        raise HardError(ReplyCode.INTERNAL_ERROR, text, blames_method=False)  # as RabbitMQ
    return [
        (name, _ARGUMENTS[Basic.Properties.amqp_type(name)])
        for name, flag in known.items()
        if flags & flag
    ]


def _malformed(why: str) -> NoReturn:
    text = f"the frame cannot be decoded: {why}"
    raise HardError(ReplyCode.FRAME_ERROR, text)


def pack_table(table: Mapping[str, Any]) -> bytes:
    """Return a field table as bytes, from the values that `Cursor.table` reads.

    Numbers come back equal, though perhaps not in the size they were sent in.
    """
    packed = b"".join(_named(name, value) for name, value in table.items())
    return _LONG.pack(len(packed)) + packed


def _named(name: str, value: Any) -> bytes:
    data = name.encode()
    return _OCTET.pack(len(data)) + data + _packed(value)


def _packed(value: Any) -> bytes:
    return _PACKERS[type(value)](value)


def _packed_integer(value: int) -> bytes:
    fits = -(1 << 31) <= value < 1 << 31
    letter = b"I" if fits else b"l" if value < 1 << 63 else b"T"
    return letter + _NUMBERS[letter].pack(value)


def _packed_array(values: list[Any]) -> bytes:
    packed = b"".join(map(_packed, values))
    return b"A" + _LONG.pack(len(packed)) + packed


_PACKERS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda value: b"t" + _NUMBERS[b"t"].pack(value),
    int: _packed_integer,
    float: lambda value: b"d" + _NUMBERS[b"d"].pack(value),
    bytes: lambda value: b"S" + _LONG.pack(len(value)) + value,
    type(None): lambda _: b"V",
    dict: lambda value: b"F" + pack_table(value),
    list: _packed_array,
    tuple: lambda value: b"D" + _OCTET.pack(value[0]) + _NUMBERS[b"I"].pack(value[1]),
}
