"""Values that stay encoded: tables and arrays taken apart, put together, with new ones added.

What is left alone keeps its type and its value, byte by byte.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from labsvc.amqp.wire.cursor import Cursor
from labsvc.amqp.wire.frames import shortstr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SIZE = Struct(">I")
_LONG = Struct(">cq")
_TIME = Struct(">cQ")


def split_table(data: bytes) -> dict[str, bytes]:
    """Return the encoded values of an encoded table, by name."""
    cursor = Cursor(data, _SIZE.size)
    values = {}
    while cursor.at < len(data):
        name = cursor.shortstr()
        start = cursor.at
        cursor.value()
        values[name] = data[start : cursor.at]
    return values


def split_array(value: bytes) -> list[bytes]:
    """Return the encoded values of an encoded array."""
    cursor = Cursor(value, 1 + _SIZE.size)
    values = []
    while cursor.at < len(value):
        start = cursor.at
        cursor.value()
        values.append(value[start : cursor.at])
    return values


def join_table(values: Mapping[str, bytes]) -> bytes:
    """Encode a table of encoded values."""
    packed = b"".join(shortstr(name) + value for name, value in values.items())
    return _SIZE.pack(len(packed)) + packed


def table(values: Mapping[str, bytes]) -> bytes:
    """Encode a table as a value."""
    return b"F" + join_table(values)


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
