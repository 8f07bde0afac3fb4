"""Field tables from values, as `cursor` decodes them: what the store keeps of arguments."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from labsvc.amqp.wire.cursor import NUMBERS
from labsvc.amqp.wire.frames import shortstr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OCTET = Struct(">B")
_LONG = Struct(">I")


def pack_table(table: Mapping[str, Any]) -> bytes:
    """Return a field table as bytes, from the values that `Cursor.table` reads.

    Numbers come back equal, though perhaps not in the size they were sent in.
    """
    packed = b"".join(shortstr(name) + _packed(value) for name, value in table.items())
    return _LONG.pack(len(packed)) + packed


def _packed(value: Any) -> bytes:
    return _PACKERS[type(value)](value)


def _packed_integer(value: int) -> bytes:
    fits = -(1 << 31) <= value < 1 << 31
    letter = b"I" if fits else b"l" if value < 1 << 63 else b"T"
    return letter + NUMBERS[letter].pack(value)


def _packed_array(values: list[Any]) -> bytes:
    packed = b"".join(map(_packed, values))
    return b"A" + _LONG.pack(len(packed)) + packed


_PACKERS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda value: b"t" + NUMBERS[b"t"].pack(value),
    int: _packed_integer,
    float: lambda value: b"d" + NUMBERS[b"d"].pack(value),
    bytes: lambda value: b"S" + _LONG.pack(len(value)) + value,
    type(None): lambda _: b"V",
    dict: lambda value: b"F" + pack_table(value),
    list: _packed_array,
    tuple: lambda value: b"D" + _OCTET.pack(value[0]) + NUMBERS[b"I"].pack(value[1]),
}
