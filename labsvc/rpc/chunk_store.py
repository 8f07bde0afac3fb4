"""Where chunks of files arrive: put together over any number of calls, and compared at the end.

    files = ChunkStore(folder, most=2**30)
    files.append(chunk.sha256, chunk.offset, chunk.data)
    files.finish(chunk.sha256)

A file is known by its SHA-256. So the same file again is there already, one that has changed is
another one, and no name that a caller chose becomes a path (claim C19). `chunks` is the other end.
Its methods block for as long as the disk takes: in a handler of grpc.aio, `asyncio.to_thread` them.
Notebook 54 shows the use.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

import grpc

from labsvc.rpc.chunks import digest
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOCKS = 64


class ChunkStore:
    """Puts files together in a folder, which one process has for itself.

    What `append` has returned for survives the end of the process. After a power cut a part may
    hold less than it said, or other bytes: `finish` finds that out.

    Args:
        folder: where files are, by their digests, and what has come of others.
        most: bytes that a file may have.

    """

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder = folder
        self._most = most
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def stored(self, sha256: str) -> int:
        """Return how many bytes of a file have come.

        Raises:
            StatusError: INVALID_ARGUMENT: that is no SHA-256.

        """
        whole, part = self._paths(sha256)
        return _size(whole) if whole.exists() else _size(part)

    def append(self, sha256: str, offset: int, data: bytes) -> int:
        """Write what is new of a chunk; return how many bytes of the file have come.

        Of two calls that send the same bytes, one of them long given up, the second one's are
        passed over.

        Raises:
            StatusError: OUT_OF_RANGE: the chunk starts after what has come. INVALID_ARGUMENT: that
                is no SHA-256, the chunk starts before the file, or the file has too many bytes.

        """
        whole, part = self._paths(sha256)
        with self._lock(sha256):
            if whole.exists():
                return _size(whole)
            stored = _size(part)
            if offset > stored:
                msg = f"the chunk starts at {offset}, and {stored} bytes have come"
                raise StatusError(grpc.StatusCode.OUT_OF_RANGE, msg)
            if offset < 0 or offset + len(data) > self._most:
                msg = f"a file starts at 0 and ends at {self._most} at the latest"
                raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, msg)
            if new := data[stored - offset :]:
                with part.open("ab") as file:
                    file.write(new)
            return stored + len(new)

    def finish(self, sha256: str) -> int:
        """Compare what has come with its digest, and keep it as a file; return its bytes.

        Raises:
            StatusError: DATA_LOSS: it is not what was sent, and is dropped. INVALID_ARGUMENT: that
                is no SHA-256.

        """
        whole, part = self._paths(sha256)
        with self._lock(sha256):
            if not whole.exists():
                part.touch()  # an empty file has no chunk with bytes
                if digest(part) != sha256:
                    part.unlink()
                    msg = "what came is not the file of this digest; begin anew"
                    raise StatusError(grpc.StatusCode.DATA_LOSS, msg)
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                part.replace(whole)
            return _size(whole)

    def path(self, sha256: str) -> Path:
        """Return where a file is, or will be."""
        return self._paths(sha256)[0]

    def sweep(self, seconds: float) -> int:
        """Delete the parts to which nothing was added for so long; return how many."""
        old = time.time() - seconds
        swept = 0
        for part in self._folder.glob("*.part"):
            with self._lock(part.stem):
                if part.exists() and part.stat().st_mtime < old:
                    part.unlink()
                    swept += 1
        return swept

    def _lock(self, sha256: str) -> threading.Lock:
        return self._locks[int(sha256[:8], 16) % _LOCKS]

    def _paths(self, sha256: str) -> tuple[Path, Path]:
        if not _DIGEST.fullmatch(sha256):
            msg = "a SHA-256 has 64 hexadecimal digits of lower case"
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, msg)
        return self._folder / sha256, self._folder / f"{sha256}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
