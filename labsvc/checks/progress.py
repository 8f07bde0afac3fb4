"""What a learner has solved, kept over restarts in the user's data folder."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.verdict import State

RANK = {"not attempted": 0, "not solved": 1, "solved": 2}
"""What may replace what: once solved stays solved, until a reset."""


def data_folder() -> Path:
    """Return the folder for the learner's own data: $LABSVC_DATA_DIR, or the system's place."""
    chosen = os.environ.get("LABSVC_DATA_DIR")
    return Path(chosen) if chosen else platformdirs.user_data_path("labsvc", appauthor=False)


def load() -> tuple[dict[str, str], str]:
    """Return the state of each exercise by id, and a note if a broken file was set aside."""
    path = _path()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        states = {str(key): str(state) for key, state in stored["exercises"].items()}
    except FileNotFoundError:
        return {}, ""
    except (ValueError, LookupError, TypeError, AttributeError):
        aside = unused(path.with_name("progress.broken.json"))
        path.replace(aside)
        return (
            {},
            f"Your progress could not be read. It was set aside as {aside}; a new one begins.",
        )
    return {key: state for key, state in states.items() if state in RANK}, ""


def record(exercise_id: str, state: State) -> str:
    """Remember a verdict, and return a note if there is something to tell the learner.

    "unknown" is not recorded. A check never fails because its result could not be stored.
    """
    if state not in RANK:
        return ""
    try:
        with _locked():
            states, note = load()
            if RANK[state] >= RANK.get(states.get(exercise_id, ""), 0):
                _save(states | {exercise_id: state})
    except OSError as error:
        return f"Your progress was not stored ({error}). Check the folder {data_folder()}."
    return note


def forget(notebook: str) -> None:
    """Forget what was solved in one notebook, given by its two digits.

    Raises:
        OSError: the data folder cannot be written.

    """
    with _locked():
        states, _ = load()
        kept = {key: state for key, state in states.items() if not key.startswith(f"{notebook}-")}
        if kept != states:
            _save(kept)


def show(notebook: str | None = None) -> None:
    """Print which exercises are solved, of one notebook ("02") or of all.

    Raises:
        LabError: no notebook of that number has an exercise, or the data folder is closed to us.

    """
    from labsvc.checks.engine import exercises

    chosen = [e for e in exercises().values() if notebook in (None, e.notebook)]
    if not chosen:
        numbers = sorted({e.notebook for e in exercises().values()})
        msg = f"no exercises in notebook {notebook!r}; there are {', '.join(numbers)}"
        raise LabError(msg)
    try:
        with _locked():
            states, note = load()
    except OSError as error:
        msg = (
            f"your progress cannot be read ({error}); check the folder {data_folder()},"
            " or name another one in LABSVC_DATA_DIR"
        )
        raise LabError(msg) from error
    rows = [("exercise", "title", "state")]
    rows += [(e.id, e.title, states.get(e.id, "not attempted")) for e in chosen]
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{width[0]}}  {title:{width[1]}}  {state}" for name, title, state in rows]
    done = sum(states.get(e.id) == "solved" for e in chosen)
    lines.append(f"{done} of {len(chosen)} solved")
    print("\n".join([note, *lines] if note else lines))  # noqa: T201  # this is its purpose


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


def _path() -> Path:
    return data_folder() / "progress.json"


def _save(states: dict[str, str]) -> None:
    text = json.dumps({"exercises": states}, indent=1, sort_keys=True) + "\n"
    write_whole(_path(), text.encode())


@contextmanager
def _locked() -> Iterator[None]:
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
