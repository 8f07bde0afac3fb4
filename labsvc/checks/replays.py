"""The case that broke a check last, run again by itself with its services left up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.checks.catalogue import texts
from labsvc.checks.registry import find, unknown
from labsvc.checks.sandbox import Sandbox
from labsvc.checks.submission import NotAttemptedError, Submission, SubmissionError
from labsvc.checks.values import described
from labsvc.checks.wording import summary
from labsvc.errors import LabError
from labsvc.quiet import quiet
from labsvc.sweep import Run
from labsvc.sweep.points import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.cases import Failed
    from labsvc.checks.run import Outcome


@dataclass(frozen=True)
class _Kept:
    """A case that broke, and the function under which it did."""

    function: Callable[..., Any]
    failed: Failed


_kept: dict[str, _Kept] = {}
_up: list[tuple[Sandbox, Run]] = []
"""What the last replay has left up."""


def keep(exercise_id: str, submission: Submission) -> None:
    """Keep the case that broke a check; after one that was solved, or broke elsewhere, none."""
    _kept.pop(exercise_id, None)
    if submission.failed is not None:
        _kept[exercise_id] = _Kept(submission.function, submission.failed)


def replay(exercise_id: str) -> None:
    """Run the case again that broke the last check of an exercise, and print what happens.

    The same function meets the same faults. Its services stay up, with the state that they are in,
    until the next replay: their addresses are printed.

    Raises:
        LabError: there is no such exercise, or no case of it has broken in this kernel.

    """
    if texts(exercise_id) is None:
        raise unknown(exercise_id)
    if exercise_id not in _kept:
        msg = (
            f'no case of {exercise_id} to run again: run check("{exercise_id}", ...) first. A check'
            " keeps a case when your function ran to its end in it and a promise broke"
        )
        raise LabError(msg)
    _take_down()
    kept = _kept[exercise_id]
    exercise = find(exercise_id)
    answer = Submission(kept.function, exercise.deadline, exercise.kind, exercise.returns)
    room = Sandbox()
    run = Run(room.lab, kept.failed.plan)
    _up.append((room, run))
    with quiet():
        broke = _play(answer, kept.failed, room, run)
    lines = [f"{exercise_id}: {words(kept.failed.plan)}"]
    lines += [f"  {event.seconds:6.3f} s  {event}" for event in run.events]
    lines += [f"  your function {_said(outcome)}" for outcome in answer.outcomes]
    lines.append(f"  {broke}")
    lines += [f"  still up: {name} at {target}" for name, target in room.services.items()]
    print("\n".join(lines))  # noqa: T201  # this is its purpose


def _play(answer: Submission, failed: Failed, room: Sandbox, run: Run) -> str:
    try:
        verdict = failed.case(answer, room, run)
    except NotAttemptedError:
        return "it is still the stub"
    except SubmissionError as fault:
        return f"broke: {fault.guarantee}"
    finally:
        answer.close()
    return f"broke: {verdict.guarantee}" if verdict else "nothing broke this time"


def _said(outcome: Outcome) -> str:
    if outcome.hung:
        return "did not come back"
    if outcome.error is not None:
        return f"raised {summary(outcome.error)}"
    return f"returned {described(outcome.value)}"


def _take_down() -> None:
    while _up:
        room, run = _up.pop()
        run.abandon()
        room.close()
