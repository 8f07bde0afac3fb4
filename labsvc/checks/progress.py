"""What a learner has solved in one copy of the course, kept in the user's data folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from labsvc.checks.folders import course_folder, data_folder, locked, unused, write_whole
from labsvc.checks.registry import listed
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.checks.verdict import State

RANK = {"not attempted": 0, "not solved": 1, "solved": 2}
"""What may replace what: once solved stays solved, until a reset."""


@dataclass(frozen=True)
class Progress:
    """What is remembered by the id of an exercise: its state, and how many hints were shown."""

    exercises: dict[str, str] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)

    def without(self, notebook: str) -> Progress:
        """Return the same with nothing of one notebook."""
        mine = f"{notebook}-"
        return Progress(
            {key: state for key, state in self.exercises.items() if not key.startswith(mine)},
            {key: count for key, count in self.hints.items() if not key.startswith(mine)},
        )


def load() -> tuple[Progress, str]:
    """Return what is remembered, and a note if a broken file was set aside."""
    path = _path()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        states = {str(key): str(state) for key, state in stored["exercises"].items()}
        hints = {str(key): int(count) for key, count in stored.get("hints", {}).items()}
    except FileNotFoundError:
        return Progress(), ""
    except (ValueError, LookupError, TypeError, AttributeError):
        aside = unused(path.with_name(f"{path.stem}.broken.json"))
        path.replace(aside)
        note = f"Your progress could not be read. It was set aside as {aside}; a new one begins."
        return Progress(), note
    return Progress({key: state for key, state in states.items() if state in RANK}, hints), ""


def record(exercise_id: str, state: State) -> str:
    """Remember a verdict, and return a note if there is something to tell the learner.

    "unknown" is not recorded. A check never fails because its result could not be stored.
    """
    if state not in RANK:
        return ""
    try:
        with locked():
            kept, note = load()
            if RANK[state] >= RANK.get(kept.exercises.get(exercise_id, ""), 0):
                _save(replace(kept, exercises=kept.exercises | {exercise_id: state}))
    except OSError as error:
        return _not_stored(error)
    return note


def count_hint(exercise_id: str, most: int) -> tuple[int, str]:
    """Count one more hint, up to `most`; return which one to show, and a note as in `record`."""
    try:
        with locked():
            kept, note = load()
            number = max(1, min(kept.hints.get(exercise_id, 0) + 1, most))
            _save(replace(kept, hints=kept.hints | {exercise_id: number}))
    except OSError as error:
        return 1, _not_stored(error)
    return number, note


def forget(notebook: str) -> None:
    """Forget what was solved and hinted in one notebook, given by its two digits.

    Raises:
        OSError: the data folder cannot be written.

    """
    with locked():
        kept, _ = load()
        if kept.without(notebook) != kept:
            _save(kept.without(notebook))


def is_solved(exercise_id: str) -> bool:
    """Return whether an exercise is known to be solved; False too if that cannot be read."""
    try:
        with locked():
            return load()[0].exercises.get(exercise_id) == "solved"
    except OSError:
        return False


def show(notebook: str | None = None) -> None:
    """Print which exercises are solved, of one notebook ("02") or of all.

    Raises:
        LabError: no notebook of that number has an exercise, or the data folder is closed to us.

    """
    chosen = listed(notebook)
    if not chosen:
        numbers = sorted({exercise_id[:2] for exercise_id in listed()})
        msg = f"no exercises in notebook {notebook!r}; there are {', '.join(numbers)}"
        raise LabError(msg)
    try:
        with locked():
            kept, note = load()
    except OSError as error:
        msg = (
            f"your progress cannot be read ({error}); check the folder {data_folder()},"
            " or name another one in LABSVC_DATA_DIR"
        )
        raise LabError(msg) from error
    rows = [("exercise", "title", "state")]
    states = [kept.exercises.get(exercise_id, "not attempted") for exercise_id in chosen]
    rows += [(*row, state) for row, state in zip(chosen.items(), states, strict=True)]
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{width[0]}}  {title:{width[1]}}  {state}" for name, title, state in rows]
    lines.append(f"{states.count('solved')} of {len(chosen)} solved")
    print("\n".join([note, *lines] if note else lines))  # noqa: T201  # this is its purpose


def _path() -> Path:
    """Return the file of this copy of the course, which is known by where it lies."""
    course = course_folder()
    if course is None:
        return data_folder() / "progress.json"
    key = hashlib.sha256(str(course.resolve()).encode()).hexdigest()[:12]
    return data_folder() / f"progress-{key}.json"


def _save(kept: Progress) -> None:
    text = json.dumps(asdict(kept), indent=1, sort_keys=True) + "\n"
    write_whole(_path(), text.encode())


def _not_stored(error: OSError) -> str:
    return f"Your progress was not stored ({error}). Check the folder {data_folder()}."
