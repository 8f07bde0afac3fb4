"""One direction of a connection, cut into the frames of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Frames:
    """Collects bytes and gives them back frame by frame.

    Args:
        head: bytes that a frame has at least, and that tell its length.
        length: returns the length of a frame from its head, the head included.
        preface: bytes before the first frame.

    """

    def __init__(self, head: int, length: Callable[[bytes], int], preface: int = 0) -> None:
        self._head = head
        self._length = length
        self._preface = preface
        self._bytes = b""

    def split(self, data: bytes) -> Iterator[bytes]:
        """Yield the preface, if there is one, and each frame that is whole by now."""
        self._bytes += data
        while len(self._bytes) >= (size := self._size()):
            raw, self._bytes = self._bytes[:size], self._bytes[size:]
            self._preface = 0
            yield raw

    def rest(self) -> bytes:
        """Return, and forget, what is not cut yet."""
        rest, self._bytes = self._bytes, b""
        return rest

    def _size(self) -> int:
        if self._preface:
            return self._preface
        if len(self._bytes) < self._head:
            return self._head
        return self._length(self._bytes[: self._head])
