"""Check an exercise: real services, real faults, a verdict that says what broke.

A notebook's module in this package registers its exercises:

    @exercise("03-deadlines", title="Pass the deadline on")
    def deadlines(answer: Answer, bench: Bench) -> Verdict:
        service = bench.serve_grpc(UserService(store), name="users")
        name = answer(service.target, "u-1")
        if name != "First Customer":
            return broken("user u-1 came back as another", hint="Return the name.", calls=1)
        return solved("the name came back in time", calls=1)

The scenario calls the learner's function through `answer`, which ends the check when it raises or
hangs, and starts services through `bench`, which stops them afterwards. Whatever else goes wrong
is the check's own fault: the verdict is "unknown". Every module of the package is searched, so a
new notebook adds a module and nothing else.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.checks.answer import Answer, AnswerError, NotAttemptedError, summary
from labsvc.checks.bench import Bench
from labsvc.checks.progress import record
from labsvc.checks.verdict import Verdict
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    Scenario = Callable[[Answer, Bench], Verdict]

DEADLINE = 20.0
"""Seconds that one check may take unless its exercise says otherwise."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exercise:
    """One exercise: its id starts with the number of its notebook, "03-deadlines"."""

    id: str
    title: str
    scenario: Scenario
    deadline: float

    @property
    def notebook(self) -> str:
        """The two digits of the notebook."""
        return self.id[:2]


_exercises: dict[str, Exercise] = {}


def exercise(
    exercise_id: str, *, title: str, deadline: float = DEADLINE
) -> Callable[[Scenario], Scenario]:
    """Register a scenario under the id that a notebook gives to `check`.

    `deadline` is in seconds and counts for all calls of the answer together.

    Raises:
        ValueError: the id does not start with two digits and a hyphen, or is taken.

    """
    if not re.fullmatch(r"[0-9]{2}-[a-z0-9-]+", exercise_id):
        msg = f"{exercise_id!r} is no exercise id; write two digits and a name: '03-deadlines'"
        raise ValueError(msg)

    def register(scenario: Scenario) -> Scenario:
        taken = _exercises.get(exercise_id)
        if taken is not None and taken.scenario.__module__ != scenario.__module__:
            msg = f"{exercise_id!r} is taken by {taken.scenario.__module__}; choose another id"
            raise ValueError(msg)
        _exercises[exercise_id] = Exercise(exercise_id, title, scenario, deadline)
        return scenario

    return register


def exercises() -> dict[str, Exercise]:
    """Return every exercise of the course by its id, in the order of the notebooks."""
    package = importlib.import_module("labsvc.checks")
    for module in pkgutil.iter_modules(package.__path__, "labsvc.checks."):
        importlib.import_module(module.name)
    return dict(sorted(_exercises.items()))


def run_check(exercise_id: str, answer: Callable[..., Any]) -> Verdict:
    """Run one exercise's scenario against `answer` and return the verdict.

    Nothing is printed or recorded. The answer runs in a daemon thread, a coroutine function on a
    loop of its own there; what hangs is given up after the exercise's deadline.

    Raises:
        LabError: there is no such exercise; the message lists those there are.

    """
    known = exercises()
    if exercise_id not in known:
        msg = f"there is no exercise {exercise_id!r}; choose one of: {', '.join(known)}"
        raise LabError(msg)
    if not callable(answer):
        return Verdict(
            "not solved",
            f"the answer is of type {type(answer).__name__}, not a function",
            hint="Pass the function by its name, without brackets after it.",
        )
    chosen = known[exercise_id]
    limited = Answer(answer, chosen.deadline)
    try:
        with Bench() as bench:
            return chosen.scenario(limited, bench)
    except NotAttemptedError:
        return Verdict(
            "not attempted", "write the function in the cell above, then run this cell again"
        )
    except AnswerError as error:
        return Verdict("not solved", error.guarantee, hint=error.hint)
    except Exception as error:
        log.debug("the check %s failed", exercise_id, exc_info=True)
        return Verdict(
            "unknown",
            f"the check itself could not run ({summary(error)})",
            hint="This says nothing about your answer. Run the cell again;"
            " if it stays so, run `labsvc doctor`.",
        )
    finally:
        limited.close()


def check(exercise_id: str, answer: Callable[..., Any]) -> None:
    """Check what you wrote for an exercise, print the verdict and remember what is solved.

    Raises:
        LabError: there is no such exercise; the message lists those there are.

    """
    verdict = run_check(exercise_id, answer)
    print(f"{exercise_id}: {verdict}")  # noqa: T201  # this is its purpose
    if note := record(exercise_id, verdict.state):
        print(note)  # noqa: T201
