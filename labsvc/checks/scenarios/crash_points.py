"""Notebook 62: the process is killed after any of its commits, and its successor goes on."""

from __future__ import annotations

import sqlite3
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.effects import what_is_wrong
from labsvc.checks.scenarios.event_log import MANY, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict
    from labsvc.sweep import Run

MOST = 6  # crashes to try among many events
HEADER = (
    32  # bytes of a write-ahead log before its frames, of 24 and a page (sqlite.org/fileformat)
)
FRAME = 24


def killed_among_few(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Kill it after each of its commits, among six events."""
    return _killed(answer, room, 1, None)


def killed_among_many(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Kill it after some of its commits, among so many events that some answers commit rarely."""
    return _killed(answer, room, MANY, MOST)


def _killed(answer: Submission, room: Sandbox, pairs: int, most: int | None) -> Verdict | None:
    stage = Stage(answer, room)
    stage.log.write(pairs)
    with _commits(stage.path) as commits:
        stage.call()
        ends = commits.ends()
    folder = Path(room.enter(tempfile.TemporaryDirectory(prefix="labsvc-check-")))
    step = 1 if most is None else -(-len(ends) // most)
    for number in range(1, len(ends) + 1, step):
        path = folder / f"{number}.db"
        commits.leave(path, ends[number - 1])
        stage.database_at(path)
        stage.call()
        after = f"the process was killed after commit {number} of {len(ends)}, it was called again"
        if verdict := what_is_wrong(stage, after):
            return verdict
    return None


class _Commits:
    """The states of a database in WAL mode: a crash leaves the one after its last commit.

    The write-ahead log holds the pages of each commit in order, whoever made it and by whatever
    statement, and a part of it that ends with a commit is that state.
    """

    def __init__(self, path: Path) -> None:
        self._log = path.with_name(f"{path.name}-wal")
        self._before = path.read_bytes()
        self._written = b""

    def ends(self) -> list[int]:
        """Return where in the log each commit ends, in bytes."""
        self._written = self._log.read_bytes()
        if not self._written:
            return []
        (page,) = struct.unpack_from(">I", self._written, 8)
        frames = range(HEADER, len(self._written), FRAME + page)
        # The last frame of a commit has the size of the database, in pages; the others have 0.
        return [at + FRAME + page for at in frames if any(self._written[at + 4 : at + 8])]

    def leave(self, path: Path, end: int) -> None:
        """Write the database as a crash behind this end leaves it."""
        path.write_bytes(self._before)
        path.with_name(f"{path.name}-wal").write_bytes(self._written[:end])


@contextmanager
def _commits(path: Path) -> Iterator[_Commits]:
    """Keep all commits of the block in the write-ahead log: a reader of the old state does that."""
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM positions").fetchone()
        yield _Commits(path)
    finally:
        reader.close()
