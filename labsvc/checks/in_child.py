"""A function of a learner's in a process of its own, where a sweep can kill it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from labsvc.checks.verdict import Verdict, broken, first_broken
from labsvc.sweep import SweepError
from labsvc.sweep.packing import can_travel

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.sweep import Run

HINT = "Use the arguments, and make inside the function what else it needs: nothing of the notebook"


def live(
    run: Run, answer: Callable[..., Any], work: Callable[..., Any], *args: Any
) -> Verdict | None:
    """Let `work`, which calls the answer, live in a child until it ends or is killed.

    Returns what is wrong when it cannot live there, or ends by itself in another way than by
    returning.
    """
    said = "your code is a process that is killed and started again:"
    try:
        ended = run.child(work, *args)
    except SweepError:
        return cannot_travel(answer, said)
    return first_broken(
        (ended.how == "raised", f"{said} there it raised {ended.error}", f"{HINT} is there."),
        (
            ended.how == "killed" and not run.struck,
            f"{said} there it ended without a word",
            "What in it ends the process? Return, or raise an error.",
        ),
    )


def cannot_travel(answer: Callable[..., Any], said: str) -> Verdict:
    """Return the verdict on a function that cannot go into another process; `said` says why."""
    kept = ", ".join(_that_stay(answer)) or "something that your function holds on to"
    return broken(f"{said} {kept} cannot go into another process", f"{HINT} outlives it.")


def _that_stay(answer: Callable[..., Any]) -> list[str]:
    """Return the names of what a function uses that cannot go into another process."""
    try:
        found = inspect.getclosurevars(answer)
    except TypeError:  # an object that can be called
        return []
    used = {**found.globals, **found.nonlocals}
    return [f"`{name}`" for name, thing in used.items() if not can_travel(thing)]
