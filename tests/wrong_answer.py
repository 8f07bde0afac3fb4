"""What a wrong answer to an exercise is told, for the tests of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.checks import run_check

if TYPE_CHECKING:
    from collections.abc import Callable


def assert_wrong(exercise: str, answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Hold that the answer is not solved, with a reason and a hint that contain these texts."""
    verdict = run_check(exercise, answer)
    assert verdict.state == "not solved", verdict
    assert guarantee in verdict.guarantee, verdict
    assert hint in verdict.hint, verdict
