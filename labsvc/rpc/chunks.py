"""A large file in chunks, over any number of calls: it goes on where it broke (claim C19).

gRPC holds a message in memory as a whole, at both ends, and takes none over 4 MiB by default. In
chunks, memory stays flat. The receiver says how much it has stored, so a broken upload does not
begin anew, and the SHA-256 of the whole says at the end whether it was put together right.

    send(path, stored, upload)

`stored(sha256)` asks the receiver how many bytes it has, and `upload(chunks)` makes one call with
the rest, or several, and finishes. What answers them at the other end is in `chunk_store`.
Notebook 54 shows the use.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

CHUNK_BYTES = 64 * 1024
TRIES = 5
PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.OUT_OF_RANGE,  # the receiver has less than it had
    }
)
"""Codes after which `send` asks where to go on."""

AIO_AGAIN = AGAIN | {grpc.StatusCode.INTERNAL}
"""The same for `aio_send`: grpc.aio says INTERNAL of a stream that broke as it wrote to it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a file: the digest of the whole, where they start, and the bytes."""

    sha256: str
    offset: int
    data: bytes


def send(
    path: Path,
    stored: Callable[[str], int],
    upload: Callable[[Iterator[Chunk]], object],
    *,
    tries: int = TRIES,
) -> str:
    """Bring a file to a receiver, from where it broke each time; return its SHA-256.

    Both functions make calls with a timeout of their own. One that expires costs no more than what
    was under way. There is always a chunk to upload, an empty one if nothing is left.

    Args:
        path: the file, which must not change meanwhile.
        stored: asks the receiver how many bytes of a file it has.
        upload: sends chunks, and finishes. It may be called again before an earlier call has
            noticed that it broke.
        tries: how many in a row may fail without bringing the file further.

    Raises:
        grpc.RpcError: it failed so often, or with a code that is not in `AGAIN`.

    """
    sha256, turns = digest(path), _Turns(tries, AGAIN)
    while True:
        try:
            start = turns.starts_at(stored(sha256))
            upload(_chunks(path, sha256, start))
        except grpc.RpcError as error:
            time.sleep(turns.pause_after(error))
        else:
            return sha256


async def aio_send(
    path: Path,
    stored: Callable[[str], Awaitable[int]],
    upload: Callable[[Iterator[Chunk]], Awaitable[object]],
    *,
    tries: int = TRIES,
) -> str:
    """Do what `send` does with the stub of a grpc.aio channel."""
    sha256, turns = await asyncio.to_thread(digest, path), _Turns(tries, AIO_AGAIN)
    while True:
        try:
            start = turns.starts_at(await stored(sha256))
            await upload(_chunks(path, sha256, start))
        except grpc.RpcError as error:
            await asyncio.sleep(turns.pause_after(error))
        else:
            return sha256


class _Turns:
    """Counts the tries in a row that brought a file no further."""

    def __init__(self, most: int, again: frozenset[grpc.StatusCode]) -> None:
        self._most = most
        self._again = again
        self._failed = 0
        self._furthest = 0

    def starts_at(self, offset: int) -> int:
        if offset > self._furthest:
            self._furthest, self._failed = offset, 0
        return offset

    def pause_after(self, error: grpc.RpcError) -> float:
        """Return how many seconds to wait, or raise the error if it is enough."""
        self._failed += 1
        if error.code() not in self._again or self._failed >= self._most:
            raise error
        longest = min(PAUSE_SECONDS * 2**self._failed, LONGEST_PAUSE_SECONDS)
        return random.uniform(0, longest)  # noqa: S311  # so that callers do not come all at once


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(path: Path, sha256: str, start: int) -> Iterator[Chunk]:
    """Yield what is left of a file, from a file object of its own: gRPC reads it in a thread."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(CHUNK_BYTES)
        yield Chunk(sha256, start, data)
        while data:
            start += len(data)
            data = file.read(CHUNK_BYTES)
            if data:
                yield Chunk(sha256, start, data)
