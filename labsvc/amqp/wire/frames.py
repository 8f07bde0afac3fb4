"""Frames: the envelope of everything that AMQP 0-9-1 sends (specification, 4.2.3).

A frame is a type (1 byte), a channel (2), a payload size (4), the payload, and 0xCE.
"""

from __future__ import annotations

from struct import Struct

from pamqp.constants import FRAME_END

from labsvc.amqp.errors import HardError, ReplyCode

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

METHOD, HEADER, BODY, HEARTBEAT = KINDS = (1, 2, 3, 8)
END = b"\xce"
OVERHEAD = 8  # bytes of a frame that are not payload

_ENVELOPE = Struct(">BHI")
_ACK = Struct(">BHIIQBB")
_ACK_INDEX = 0x003C0050
_NACK_INDEX = 0x003C0078


class FrameReader:
    """Cuts a byte stream into frames.

    `frame_max` is the largest frame in bytes that the peer may send; it changes when the
    connection is tuned. As RabbitMQ does, a peer that forgets to count the envelope
    (8 bytes) is let through.
    """

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self._buffer = b""
        self._start = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        rest = self._buffer[self._start :]
        self._buffer = rest + data if rest else data
        self._start = 0

    def forget(self) -> None:
        """Drop what was not taken."""
        self._buffer = b""
        self._start = 0

    def take_header(self) -> bytes | None:
        """Return the 8 bytes of the protocol header, or None while they are incomplete."""
        size = len(PROTOCOL_HEADER)
        if not PROTOCOL_HEADER.startswith(self._buffer[:size]):
            return self._buffer[:size]  # wrong already: no need to wait for more
        if len(self._buffer) < size:
            return None
        self._start = size
        return PROTOCOL_HEADER

    def take(self) -> tuple[int, int, bytes] | None:
        """Return the next frame as (type, channel, payload), or None while it is incomplete.

        Raises:
            HardError: 501, the frame is too large or does not end with 0xCE. The stream
                has lost its rhythm; nothing after it can be read.

        """
        buffer, start = self._buffer, self._start
        if len(buffer) - start < _ENVELOPE.size:
            return None
        kind, channel, size = _ENVELOPE.unpack_from(buffer, start)
        if size > self.frame_max:
            text = f"a frame of {size + OVERHEAD} bytes exceeds frame_max ({self.frame_max})"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        start += _ENVELOPE.size
        end = start + size
        if end >= len(buffer):
            return None
        if buffer[end] != FRAME_END:
            text = f"the frame ends with octet {buffer[end]:#04x}, not with 0xce"
            raise HardError(ReplyCode.FRAME_ERROR, text)
        self._start = end + 1
        return kind, channel, buffer[start:end]


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return one frame."""
    return b"".join((_ENVELOPE.pack(kind, channel, len(payload)), payload, END))


def shortstr(text: str) -> bytes:
    """Return a short string: a length byte and up to 255 bytes of UTF-8."""
    data = text.encode()
    return bytes((len(data),)) + data


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return a basic.ack frame: the broker confirms what was published up to `tag`."""
    return _ACK.pack(METHOD, channel, 13, _ACK_INDEX, tag, multiple, FRAME_END)


def nack(channel: int, tag: int) -> bytes:
    """Return a basic.nack frame: the broker did not take what was published as `tag`."""
    return _ACK.pack(METHOD, channel, 13, _NACK_INDEX, tag, 0, FRAME_END)


def content(channel: int, header: bytes, body: bytes, frame_max: int) -> bytes:
    """Return the frames of a message: its content header (a payload) and its body, in parts."""
    size = len(body)
    largest = frame_max - OVERHEAD
    if 0 < size <= largest:
        return b"".join(
            (
                _ENVELOPE.pack(HEADER, channel, len(header)),
                header,
                END,
                _ENVELOPE.pack(BODY, channel, size),
                body,
                END,
            )
        )
    frames = [frame(HEADER, channel, header)]
    frames += [
        frame(BODY, channel, body[start : start + largest]) for start in range(0, size, largest)
    ]
    return b"".join(frames)
