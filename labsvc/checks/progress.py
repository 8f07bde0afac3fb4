"""What a learner has solved in one copy of the course, kept in the user's data folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from labsvc.checks.registry import listed
from labsvc.checks.testing_out import MARK, is_test_out, known_parts
from labsvc.course.places import checkout_folder, copy_here
from labsvc.errors import LabError
from labsvc.folders import data_folder, locked, unused, write_whole

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
        with locked(_lock()):
            kept, note = load()
            if RANK[state] >= RANK.get(kept.exercises.get(exercise_id, ""), 0):
                _save(replace(kept, exercises=kept.exercises | {exercise_id: state}))
    except OSError as error:
        return _not_stored(error)
    return note


def count_hint(exercise_id: str, most: int) -> tuple[int, str]:
    """Count one more hint, up to `most`; return which one to show, and a note as in `record`."""
    try:
        with locked(_lock()):
            kept, note = load()
            number = max(1, min(kept.hints.get(exercise_id, 0) + 1, most))
            _save(replace(kept, hints=kept.hints | {exercise_id: number}))
    except OSError as error:
        return 1, _not_stored(error)
    return number, note


def forget(notebook: str) -> None:
    """Forget what was solved and hinted in one notebook, given by its number.

    Raises:
        OSError: the data folder cannot be written.

    """
    with locked(_lock()):
        kept, _ = load()
        if kept.without(notebook) != kept:
            _save(kept.without(notebook))


def is_solved(exercise_id: str) -> bool:
    """Return whether an exercise is known to be solved; False too if that cannot be read."""
    try:
        with locked(_lock()):
            return load()[0].exercises.get(exercise_id) == "solved"
    except OSError:
        return False


def show(notebook: str | None = None) -> None:
    """Print which exercises are solved, of one notebook ("02") or of all.

    What a learner need not do, for its part was tested out, is "known". The test-outs themselves
    are listed once they were tried, and not counted: who reads the course needs none.

    Raises:
        LabError: no notebook of that number has an exercise, or the data folder is closed to us.

    """
    chosen = listed(notebook)
    if not chosen:
        numbers = sorted({exercise_id[:2] for exercise_id in listed()})
        msg = f"no exercises in notebook {notebook!r}; there are {', '.join(numbers)}"
        raise LabError(msg)
    try:
        with locked(_lock()):
            kept, note = load()
    except OSError as error:
        msg = (
            f"your progress cannot be read ({error}); check the folder {data_folder()},"
            " or name another one in LABSVC_DATA_DIR"
        )
        raise LabError(msg) from error
    print("\n".join(filter(None, [note, *_lines(kept, chosen, notebook)])))  # noqa: T201


def _lines(kept: Progress, chosen: dict[str, str], notebook: str | None) -> list[str]:
    """Return the table of these exercises, and their sum."""
    known = known_parts(kept.exercises)
    states = {key: _state(kept, key, known) for key in chosen}
    counted = [key for key in chosen if notebook or not is_test_out(key)]
    shown = [key for key in chosen if key in counted or key in kept.exercises]
    rows = [("exercise", "title", "state"), *((key, chosen[key], states[key]) for key in shown)]
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{width[0]}}  {title:{width[1]}}  {state}" for name, title, state in rows]
    solved = sum(states[key] == "solved" for key in counted)
    tested = [
        part for part in known if any(key.removeprefix(MARK).startswith(part) for key in counted)
    ]
    words = "".join(f", part {part} known by test-out" for part in tested)
    return [*lines, f"{solved} of {len(counted)} solved{words}"]


def _state(kept: Progress, exercise_id: str, known: list[str]) -> str:
    state = kept.exercises.get(exercise_id, "not attempted")
    return "known" if exercise_id[0] in known and state != "solved" else state


def _path() -> Path:
    """Return the file of this copy of the course; a checkout is known by where it lies."""
    copy = copy_here()
    if copy is not None:
        return copy.hidden / "progress.json"
    course = checkout_folder()
    if course is None:
        return data_folder() / "progress.json"
    key = hashlib.sha256(str(course.resolve()).encode()).hexdigest()[:12]
    return data_folder() / f"progress-{key}.json"


def _lock() -> Path:
    return _path().with_suffix(".lock")


def _save(kept: Progress) -> None:
    text = json.dumps(asdict(kept), indent=1, sort_keys=True) + "\n"
    write_whole(_path(), text.encode())


def _not_stored(error: OSError) -> str:
    return f"Your progress was not stored ({error}). Check the folder {data_folder()}."
