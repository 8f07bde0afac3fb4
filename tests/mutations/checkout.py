"""Copies of the checkout, to put a fault into and see what fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Copies:
    """Some copies of the checkout, to be borrowed one at a time from any thread.

    They are used again and again: a copy of its own for each fault would have every module compiled
    anew, which takes longer than most of the tests.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy_checkout(folder / str(number))
            self._free.put(folder / str(number))

    @contextmanager
    def borrow(self) -> Iterator[Path]:
        """Give a copy, and take it back; wait while all are in use."""
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)

    @contextmanager
    def changed(self, file: Path, text: str) -> Iterator[Path]:
        """Borrow a copy whose `file`, a path within the checkout, holds this text."""
        with self.borrow() as copy:
            (copy / file).write_text(text, encoding="utf-8")
            try:
                yield copy
            finally:
                shutil.copy2(ROOT / file, copy / file)  # with its time: what was compiled holds
                shutil.rmtree(data_of(copy), ignore_errors=True)


@contextmanager
def copies(count: int) -> Iterator[Copies]:
    """Copy the checkout so many times; the copies are gone at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Copies(Path(folder), count)


def copy_checkout(copy: Path) -> None:
    """Copy every file that git knows, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def data_of(copy: Path) -> Path:
    """Return the folder that stands for the user's data folder when the copy runs."""
    return copy.with_name(f"{copy.name}-data")


def run_in(copy: Path, command: list[str], seconds: float) -> tuple[int | None, str]:
    """Run the command on the copy's package; return its exit code, None if it did not end."""
    env = os.environ | {"PYTHONPATH": str(copy), "LABSVC_DATA_DIR": str(data_of(copy))}
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr
