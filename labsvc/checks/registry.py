"""The exercises: registered by the modules of `scenarios`, which are loaded notebook by notebook.

A module that cannot be loaded, such as for want of a package, takes no other exercise with it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.checks import catalogue
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.kinds import Kind
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict

    Scenario = Callable[[Submission, Sandbox], Verdict]

DEADLINE = 5.0
"""Seconds that an answer may run in one check, unless its exercise says otherwise."""

PACKAGE = "labsvc.checks.scenarios"
REPAIR = "Run `labsvc doctor` in a terminal: it says what to repair."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exercise:
    """One exercise: its id starts with the number of its notebook, "22-deadlines"."""

    id: str
    title: str
    scenario: Scenario
    deadline: float
    kind: Kind
    returns: Any

    @property
    def notebook(self) -> str:
        """The number of the notebook: "22", or "T2" for what tests part 2 out."""
        return self.id[:2]


class NotLoadedError(Exception):
    """An exercise of the course cannot be loaded here; the message says why."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


_exercises: dict[str, Exercise] = {}


def exercise(
    exercise_id: str,
    *,
    title: str,
    deadline: float = DEADLINE,
    kind: Kind = "either",
    returns: Any = object,
) -> Callable[[Scenario], Scenario]:
    """Register a scenario under the id that a notebook gives to `check`.

    Args:
        exercise_id: the number of the notebook and a name, "22-deadlines".
        title: a line for `progress`.
        deadline: seconds in which the answer may run, for all its calls together.
        kind: how the answer has to be written; "either" is `def` or `async def`.
        returns: the type of its value as in an annotation (`list[float]`, `Order | None`), strict:
            True is no int. Anything but a generator or a coroutine without it.

    Raises:
        ValueError: the id does not start with a notebook's number and a hyphen, or is taken.

    """
    if not re.fullmatch(r"[0-9T][0-9]-[a-z0-9-]+", exercise_id):
        msg = f"{exercise_id!r} is no exercise id; write a number and a name: '22-deadlines'"
        raise ValueError(msg)

    def register(scenario: Scenario) -> Scenario:
        taken = _exercises.get(exercise_id)
        if taken is not None and taken.scenario.__module__ != scenario.__module__:
            msg = f"{exercise_id!r} is taken by {taken.scenario.__module__}; choose another id"
            raise ValueError(msg)
        _exercises[exercise_id] = Exercise(exercise_id, title, scenario, deadline, kind, returns)
        return scenario

    return register


def find(exercise_id: str) -> Exercise:
    """Return an exercise, for which no more is loaded than its own notebook needs.

    Raises:
        LabError: there is no such exercise; the message lists those there are.
        NotLoadedError: its module cannot be imported.

    """
    failures = _load(exercise_id[:2])
    if exercise_id in _exercises:
        return _exercises[exercise_id]
    if catalogue.texts(exercise_id) is None or not failures:
        raise unknown(exercise_id)
    raise _not_loaded(failures[0])


def listed(notebook: str | None = None) -> dict[str, str]:
    """Return the title of every exercise by its id, of one notebook or of all, in order.

    In the place of a title that cannot be loaded stands the reason.
    """
    course = catalogue.notebooks()
    titles = {}
    for number in course if notebook is None else [notebook]:
        failures = _load(number)
        if failures:
            reason = f"cannot be loaded: {_not_loaded(failures[0])}"
            titles.update(dict.fromkeys(course[number].exercises, reason))
    loaded = {key: each.title for key, each in _exercises.items()}
    known = sorted((titles | loaded).items())
    return {key: title for key, title in known if notebook in (None, key[:2])}


def unknown(exercise_id: str) -> LabError:
    """Return the error for an id that no exercise has."""
    course = (key for each in catalogue.notebooks().values() for key in each.exercises)
    ids = sorted({*course, *_exercises})
    return LabError(f"there is no exercise {exercise_id!r}; choose one of: {', '.join(ids)}")


def _load(number: str) -> list[Exception]:
    """Import the modules of a notebook, and return why some of them cannot be imported."""
    failures: list[Exception] = []
    importlib.invalidate_caches()  # a package may just have been installed
    notebook = catalogue.notebooks().get(number)
    for name in () if notebook is None else notebook.modules:
        try:
            importlib.import_module(f"{PACKAGE}.{name}")
        except Exception as error:  # a package may fail at its import in any way
            log.debug("the scenarios in %s cannot be loaded", name, exc_info=True)
            failures.append(error)
    return failures


def _not_loaded(error: Exception) -> NotLoadedError:
    """Return what to say of a module that raised `error` when it was imported."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    missing = name.partition(".")[0]
    if missing in ("", "labsvc"):
        reason = f"its module cannot be imported ({type(error).__name__}: {error})"
        return NotLoadedError(reason, REPAIR)
    package = _distribution(missing)
    if package is None:
        return NotLoadedError(f"the module {missing} is missing", REPAIR)
    hint = f"Install it with `%pip install {package}`, then run the cell again."
    return NotLoadedError(f"the package {package} is missing", hint)


def _distribution(module: str) -> str | None:
    """Return by which name a module is installed: that requirement of ours which is in its name."""
    try:
        needs = importlib.metadata.requires("labsvc") or []
    except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
        return None
    names = [match[0] for need in needs if (match := re.match(r"[\w.-]+", need))]
    fitting = [name for name in names if _letters(name) in _letters(module)]
    return max(fitting, key=len, default=None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
