"""What is known of the exercises before any of them is loaded, from `scenarios/NN.toml`.

    modules = ["deadlines", "tries"]
    [22-budget]
    hints = ["…", "…"]
    also = "…"

`modules` register the exercises. `hints` are two to four, from vague to exact. `also` is what the
course's solution does differently, where that is worth knowing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Texts:
    """What a learner may read about one exercise beside its verdict."""

    hints: tuple[str, ...]
    also: str = ""


@dataclass(frozen=True)
class Notebook:
    """The exercises of one notebook: the modules that hold them, and their texts by id."""

    modules: tuple[str, ...]
    exercises: dict[str, Texts]


@cache
def notebooks() -> dict[str, Notebook]:
    """Return the notebooks that have exercises by their number, in order: "22", "T2"."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("[0-9T][0-9].toml"))}


def texts(exercise_id: str) -> Texts | None:
    """Return the texts of an exercise, None if the course has no such exercise."""
    notebook = notebooks().get(exercise_id[:2])
    return None if notebook is None else notebook.exercises.get(exercise_id)


def _read(path: Path) -> Notebook:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    modules = tuple(content.pop("modules"))
    exercises = {
        exercise_id: Texts(tuple(said["hints"]), said.get("also", ""))
        for exercise_id, said in content.items()
    }
    return Notebook(modules, exercises)
