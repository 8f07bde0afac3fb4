"""Changes to the headers of a message, without touching the rest of it.

A content header is taken apart into the bytes of its properties, and the table in it into
the bytes of its values, so that everything that is left alone keeps its type and its value.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pamqp.commands import Basic

from labsvc.amqp import wire
from labsvc.amqp.fields import Cursor, properties_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_START = Struct(">HHQH")
_SIZE = Struct(">I")
_LONG = Struct(">cq")
_TIME = Struct(">cQ")


class ContentHeader:
    """A content header taken apart: encoded values by name, to be changed.

    Args:
        payload: of its frame; it was decoded before, so it is well formed.

    """

    def __init__(self, payload: bytes) -> None:
        self._class, self._weight, self._size, flags = _START.unpack_from(payload)
        cursor = Cursor(payload, _START.size)
        self.properties: dict[str, bytes] = {}
        self.headers: dict[str, bytes] = {}
        for name, read in properties_of(flags):
            start = cursor.at
            read(cursor)
            self.properties[name] = payload[start : cursor.at]
        if "headers" in self.properties:
            self.headers = raw_table(self.properties["headers"])

    def pack(self) -> bytes:
        """Return the payload as it is now."""
        flags = Basic.Properties.flags
        self.properties["headers"] = pack_table(self.headers)
        names = [name for name in flags if name in self.properties]
        start = _START.pack(
            self._class, self._weight, self._size, sum(flags[name] for name in names)
        )
        return start + b"".join(self.properties[name] for name in names)


def with_header(payload: bytes, name: str, value: bytes) -> bytes:
    """Return a content header with one header set to an encoded value."""
    header = ContentHeader(payload)
    header.headers[name] = value
    return header.pack()


def raw_table(data: bytes) -> dict[str, bytes]:
    """Return the encoded values of an encoded table, by name."""
    cursor = Cursor(data, _SIZE.size)
    values = {}
    while cursor.at < len(data):
        name = cursor.shortstr()
        start = cursor.at
        cursor.value()
        values[name] = data[start : cursor.at]
    return values


def raw_array(value: bytes) -> list[bytes]:
    """Return the encoded values of an encoded array."""
    cursor = Cursor(value, 1 + _SIZE.size)
    values = []
    while cursor.at < len(value):
        start = cursor.at
        cursor.value()
        values.append(value[start : cursor.at])
    return values


def pack_table(values: Mapping[str, bytes]) -> bytes:
    """Encode a table of encoded values."""
    packed = b"".join(wire.shortstr(name) + value for name, value in values.items())
    return _SIZE.pack(len(packed)) + packed


def table(values: Mapping[str, bytes]) -> bytes:
    """Encode a table as a value."""
    return b"F" + pack_table(values)


def array(values: Iterable[bytes]) -> bytes:
    """Encode an array as a value."""
    packed = b"".join(values)
    return b"A" + _SIZE.pack(len(packed)) + packed


def text(value: str) -> bytes:
    """Encode a long string as a value."""
    data = value.encode()
    return b"S" + _SIZE.pack(len(data)) + data


def long(value: int) -> bytes:
    """Encode a 64-bit integer as a value."""
    return _LONG.pack(b"l", value)


def timestamp(seconds: float) -> bytes:
    """Encode a time, in seconds since the epoch, as a value."""
    return _TIME.pack(b"T", int(seconds))
