"""What an answer to an exercise is told, for the tests of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.checks import run_check

if TYPE_CHECKING:
    from collections.abc import Callable


def assert_wrong(exercise: str, answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Hold that the answer is not solved, with a reason and a hint that contain these texts.

    Of an answer that is timed nothing can be said where the tests beside it take the cores. It is
    asked again then, as the verdict says.
    """
    verdict = run_check(exercise, answer)
    for _ in range(2):
        if verdict.state == "unknown":
            verdict = run_check(exercise, answer)
    assert verdict.state == "not solved", verdict
    assert guarantee in verdict.guarantee, verdict
    assert hint, f"every wrong answer has a hint that fits; which words of this do? {verdict.hint}"
    assert hint in verdict.hint, verdict


def assert_solved(exercise: str, answer: Callable[..., Any]) -> None:
    """Hold that the answer is solved, and that there is nothing to note."""
    verdict = run_check(exercise, answer)
    assert verdict.state == "solved", verdict
    assert not verdict.notes, verdict


def assert_not_attempted(exercise: str, stub: Callable[..., Any]) -> None:
    """Hold that the stub is no attempt."""
    verdict = run_check(exercise, stub)
    assert verdict.state == "not attempted", verdict
