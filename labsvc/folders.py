"""The learner's own folder of data, files that are written whole, and a lock between processes."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL = ".part-"


def data_folder() -> Path:
    """Return the folder for the learner's own data: $LABSVC_DATA_DIR, or the system's place."""
    chosen = os.environ.get("LABSVC_DATA_DIR")
    return Path(chosen) if chosen else platformdirs.user_data_path("labsvc", appauthor=False)


def unused(path: Path) -> Path:
    """Return `path`, with a number before its suffix if such a file is there already."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def keep(path: Path) -> Path:
    """Copy a file into the folder `kept` of the learner's data; return where the copy lies.

    Raises:
        OSError: the file cannot be read, or the data folder cannot be written.

    """
    copy = unused(data_folder() / "kept" / path.name)
    write_whole(copy, path.read_bytes())
    return copy


def write_whole(path: Path, content: bytes, over: bytes | None = None) -> bool:
    """Write a file so that a reader sees the old or the new content; return whether it was written.

    It is on the disk before it takes the other's place, so that a power cut leaves no empty file.

    Args:
        path: of the file.
        content: what it shall hold.
        over: write only if the file holds this, up to the moment in which it is replaced.

    Raises:
        OSError: the folder cannot be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if over is not None and path.read_bytes() != over:
            return False
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, and wait while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            yield
