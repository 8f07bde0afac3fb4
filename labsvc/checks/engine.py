"""Check an exercise: real services, real faults, a verdict that says what broke.

A notebook's module in `scenarios` registers its exercises:

    @exercise("22-deadlines", title="Pass the deadline on")
    def deadlines(answer: Submission, sandbox: Sandbox) -> Verdict:
        service = sandbox.serve_grpc(AioUserService(store), name="users")
        name = answer(service.target, "u-1")
        if name != "First Customer":
            return broken("user u-1 came back as another", hint="Return the name.", calls=1)
        return solved("the name came back in time", calls=1)

The scenario calls the learner's function through `answer` and starts services through `sandbox`,
which stops them afterwards. What is wrong with any answer is said here, before the scenario speaks:
it raised, hung, came back with another type, or changed the world it was given. Whatever else goes
wrong is the check's own fault: the verdict is "unknown". A new exercise adds a module, and a table
with its hints to the notebook's file in `scenarios`; `catalogue` says what stands there.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labsvc.checks import catalogue, replays
from labsvc.checks.progress import record
from labsvc.checks.registry import Exercise, NotLoadedError, exercise, find
from labsvc.checks.sandbox import Sandbox
from labsvc.checks.submission import NotAttemptedError, Submission, SubmissionError, summary
from labsvc.checks.verdict import Verdict
from labsvc.checks.world import World
from labsvc.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check", "exercise", "run_check"]

log = logging.getLogger(__name__)


def run_check(exercise_id: str, answer: Callable[..., Any]) -> Verdict:
    """Run one exercise's scenario against `answer` and return the verdict.

    Nothing is printed or recorded. The answer runs in a daemon thread, a coroutine function on a
    loop of its own there; what hangs is given up after the exercise's deadline.

    Raises:
        LabError: there is no such exercise; the message lists those there are.

    """
    try:
        chosen = find(exercise_id)
    except NotLoadedError as missing:
        guarantee = f"the check itself could not begin: {missing}"
        return Verdict("unknown", guarantee, hint=f"{missing.hint} Your answer was not looked at.")
    if not callable(answer):
        return Verdict(
            "not solved",
            f"the answer is of type {type(answer).__name__}, not a function",
            hint="Pass the function by its name, without brackets after it.",
        )
    world = World()
    submission = Submission(answer, chosen.deadline, chosen.kind, chosen.returns)
    with quiet(), Sandbox() as sandbox:
        verdict = _judge(chosen, submission, sandbox)
        changed = world.changed(sandbox.started_lab)
    if changed is not None and verdict.state != "not attempted":
        verdict = Verdict("not solved", changed.guarantee, hint=changed.hint)
    submission.note_left()
    replays.keep(exercise_id, submission)
    return replace(verdict, notes=tuple(submission.notes))


def check(exercise_id: str, answer: Callable[..., Any]) -> None:
    """Check what you wrote for an exercise, print the verdict and remember what is solved.

    Raises:
        LabError: there is no such exercise; the message lists those there are.
        CheckStopped: the stop button was pressed.

    """
    try:
        verdict = run_check(exercise_id, answer)
    except KeyboardInterrupt:
        raise CheckStopped from None
    texts = catalogue.texts(exercise_id)
    if texts is not None and verdict.state == "solved":
        verdict = replace(verdict, also=texts.also)
    print(f"{exercise_id}: {verdict}")  # noqa: T201  # this is its purpose
    if note := record(exercise_id, verdict.state):
        print(note)  # noqa: T201


class CheckStopped(KeyboardInterrupt):
    """The stop button was pressed during a check; a notebook shows one line and stops there."""

    def __init__(self) -> None:
        super().__init__("the check was stopped; nothing was recorded")

    def _render_traceback_(self) -> list[str]:
        # IPython asks for it, and shows our own frames otherwise.
        return [str(self)]


def _judge(chosen: Exercise, submission: Submission, sandbox: Sandbox) -> Verdict:
    """Run the scenario and end the answer; what is wrong with any answer comes first."""
    try:
        with closing(submission):
            submission.must_be_of_its_kind()
            verdict = chosen.scenario(submission, sandbox)
            if verdict.state != "solved":
                submission.raise_noted()
            return verdict
    except (NotAttemptedError, SubmissionError) as fault:
        return _blame(fault)
    except Exception as error:
        log.debug("the check %s failed", chosen.id, exc_info=True)
        if blame := submission.blamed_for(error):
            return _blame(blame)
        return Verdict(
            "unknown",
            f"the check itself could not run ({summary(error)})",
            hint="This says nothing about your answer. Run the cell again;"
            " if it stays so, run `labsvc doctor`.",
        )


def _blame(fault: NotAttemptedError | SubmissionError) -> Verdict:
    if isinstance(fault, NotAttemptedError):
        return Verdict(
            "not attempted", "write the function in the cell above, then run this cell again"
        )
    return Verdict("not solved", fault.guarantee, hint=fault.hint)
