"""Method frames, decoded; pamqp says which methods exist and which fields they have."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812  # it is an exception class
from typing import TYPE_CHECKING

from pamqp.commands import INDEX_MAPPING

from labsvc.amqp.errors import HardError, ReplyCode
from labsvc.amqp.wire.cursor import READERS, Cursor, malformed

if TYPE_CHECKING:
    from pamqp.base import Frame

_INDEX = Struct(">I")
_BITS = Struct(">B")


def method_index(payload: bytes) -> int:
    """Return the class (upper 16 bits) and method (lower 16) of a method payload.

    Raises:
        HardError: 501, the payload is too short.

    """
    try:
        (index,) = _INDEX.unpack_from(payload)
    except StructError:
        malformed("a method frame needs at least 4 bytes")
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
                bits: int = cursor.number(_BITS)
            setattr(method, name, bool(bits >> bit % 8 & 1))
            bit += 1
        else:
            bit = 0
            setattr(method, name, READERS[kind](cursor))
    if cursor.at != len(payload):
        malformed("bytes are left over after the last argument")
    return method
