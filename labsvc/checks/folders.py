"""The learner's own folder of data, the folder of the course, and files that are written whole."""

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


def data_folder() -> Path:
    """Return the folder for the learner's own data: $LABSVC_DATA_DIR, or the system's place."""
    chosen = os.environ.get("LABSVC_DATA_DIR")
    return Path(chosen) if chosen else platformdirs.user_data_path("labsvc", appauthor=False)


def course_folder() -> Path | None:
    """Return the folder of the course: around the current folder, else around the package."""
    here = Path.cwd()
    for parent in (here, *here.parents, Path(__file__).parents[2]):
        if (parent / "notebooks" / "source").is_dir():
            return parent
    return None


def unused(path: Path) -> Path:
    """Return `path`, with a number before its suffix if such a file is there already."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part of it.

    Raises:
        OSError: the folder cannot be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def locked() -> Iterator[None]:
    """Keep other kernels away between reading and writing."""
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "progress.lock").open("a+b") as file:
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
