"""Content headers: decoded, to know what a message asks for; and changed, the rest untouched."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  # it is an exception class
from typing import TYPE_CHECKING, Any, NamedTuple

from pamqp.commands import Basic

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.wire.cursor import READERS, Cursor, malformed
from labsvc.amqp.wire.encoded import join_table, split_table

if TYPE_CHECKING:
    from collections.abc import Callable

BASIC_CLASS = 60

_START = Struct(">HHQH")


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
        class_id, _weight, body_size, flags = _START.unpack_from(payload)
    except StructError:
        malformed("a content header needs at least 14 bytes")
    if class_id != BASIC_CLASS:
        text = f"expected a content header of class {BASIC_CLASS}, got class {class_id}"
        raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
    cursor = Cursor(payload, _START.size)
    properties = {name: read(cursor) for name, read in properties_of(flags)}
    if cursor.at != len(payload):
        malformed("bytes are left over after the last property")
    return ContentHeader(body_size, properties)


@lru_cache(maxsize=256)
def properties_of(flags: int) -> list[tuple[str, Callable[[Cursor], Any]]]:
    """Return the properties of a content header in order, each with how to read it.

    Raises:
        HardError: 541, the flags name an unknown property.

    """
    known = Basic.Properties.flags
    if flags & ~sum(known.values()):
        text = f"property flags {flags:#06x} name unknown properties"
        raise HardError(ReplyCode.INTERNAL_ERROR, text, blames_method=False)  # as RabbitMQ
    return [
        (name, READERS[Basic.Properties.amqp_type(name)])
        for name, flag in known.items()
        if flags & flag
    ]


class EncodedHeader:
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
            self.headers = split_table(self.properties["headers"])

    def pack(self) -> bytes:
        """Return the payload as it is now."""
        flags = Basic.Properties.flags
        self.properties["headers"] = join_table(self.headers)
        names = [name for name in flags if name in self.properties]
        start = _START.pack(
            self._class, self._weight, self._size, sum(flags[name] for name in names)
        )
        return start + b"".join(self.properties[name] for name in names)


def with_header(payload: bytes, name: str, value: bytes) -> bytes:
    """Return a content header with one header set to an encoded value."""
    header = EncodedHeader(payload)
    header.headers[name] = value
    return header.pack()
