"""Part of the check of T3: a function that is cancelled, and one that finds nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.leaving import Left, start
from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE
from labsvc.checks.scenarios.saving_scripts import PLAIN, SILENT
from labsvc.checks.scenarios.saving_stage import Users
from labsvc.checks.scenarios.third_party import closed_port
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

PATIENCE = 6.0  # seconds for one call of the answer
AT_ONCE = 0.25  # seconds, for what takes a hundredth of that


def cancelled(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Cancel the function while it waits."""
    users, left = Users(room, [SILENT] * 8), Left()
    started = start(answer, users, left, leave=True, returns=dict[str, str], within=PATIENCE)
    outcome, said = started.outcome(), "your function was cancelled"
    return taught_in(
        "30",
        first_broken(
            (
                outcome.hung or left.took > AT_ONCE,
                f"{said}, and did not end at once",
                "A CancelledError has to pass. What holds it up, or catches it?",
            ),
        )
        or left.broken(said)
        or first_broken(
            (
                not left.cancelled,
                f"{said}, and did not end with a CancelledError",
                "Who cancels a task has to learn that it was: catch the end of the time alone.",
            ),
        ),
    )


def nobody_there(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let no connection be made: each is tried again, after a pause."""
    users, left = Users(room, [PLAIN] * 4), Left()
    users.url = closed_port(room)
    outcome = start(answer, users, left, returns=dict[str, str], within=PATIENCE).outcome()
    told = set((outcome.value or {}).values())
    said = "no connection could be made, and your function"
    return taught_in(
        "32",
        first_broken(
            (
                outcome.hung or outcome.error is not None or told != {"lost"},
                f"{said} {_ended(outcome)}",
                "The errors of httpx2 that say so have one base: `httpx2.TransportError`.",
            ),
            (
                left.took < 2 * SHORTEST_PAUSE,
                f"{said} gave up at once",
                "A `ConnectError` is a TransportError too: three tries, with a pause before each.",
            ),
        ),
    )


def _ended(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"raised {type(outcome.error).__name__}"
    return "did not come back" if outcome.hung else f"says {next(iter(outcome.value.values()))!r}"
