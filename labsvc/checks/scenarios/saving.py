"""Test-out of part 3: one function that keeps what its notebooks teach about HTTP."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.by_hand import PLACES
from labsvc.checks.scenarios.leaving import SOON, Left, start
from labsvc.checks.scenarios.saving_pauses import crowded
from labsvc.checks.scenarios.saving_rules import rule_broken
from labsvc.checks.scenarios.saving_scripts import (
    BESIDE,
    DRIPS,
    MENDED,
    PLAIN,
    REFUSED,
    SILENT,
    UNANSWERED,
    told,
)
from labsvc.checks.scenarios.saving_stage import Users
from labsvc.checks.scenarios.third_party import cheap_clients, closed_port
from labsvc.checks.verdict import Verdict, first_broken, solved, taught_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.saving_scripts import Script
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

SECONDS = 3.0  # as the exercise says
LATE = 0.8  # seconds more, for a busy machine
PATIENCE = 6.0  # seconds for one call of the answer
CALLERS = 20


@exercise(
    "T3-save",
    title="Test out of part 3: changes that arrive",
    kind="coroutine",
    returns=dict[str, str],
    deadline=25,
)
def saving(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`save_all(url, changes)`: each user's change is stored, or its end told, within 3 seconds."""
    cases = Cases(answer, sandbox)
    with cheap_clients():
        said = (
            cases.broken(_scripted([]))
            or cases.broken(_whole)
            or cases.broken(_scripted(MENDED), beside=[_scripted(told())])
            or cases.broken(_crowd)
            or cases.broken(_cancelled, beside=[_stuck, _scripted([SILENT] * 8), _nobody_there])
        )
    return said or solved(
        "each change was stored or its end told, in time, and nothing was left behind",
        cases=cases.count,
    )


def _scripted(scripts: Sequence[Script]) -> Case:
    """Return the case of users to each of whom something else happens."""

    def scripted(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
        return _asked(answer, Users(room, random.sample(scripts, len(scripts))))

    return scripted


def _whole(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Change users with whom nothing goes wrong."""
    users, left = Users(room, [PLAIN] * 8), Left()
    said = "eight users were to be changed"
    return _asked(answer, users, left) or taught_in(
        "30",
        first_broken(
            (
                users.connections > PLACES,
                f"{said}, over {users.connections} connections",
                "Where is the client made: once for each user, or once for all?",
            ),
            (
                users.most < PLACES,
                f"{said}, no more than {users.most} at a time",
                f"{PLACES} requests have to be under way together. Who starts the next one?",
            ),
            (
                left.waited > SECONDS / 2,
                f"{said}, all were, and your function did not return",
                "When each user has its end, nothing is left to wait for.",
            ),
        ),
    )


def _crowd(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Refuse many at the same time: they come back spread."""
    users = Users(room, [REFUSED] * CALLERS)
    return _asked(answer, users) or crowded(users.users.values())


def _stuck(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let two users be stuck, among others."""
    scripts = [BESIDE, DRIPS, *[BESIDE] * 3, UNANSWERED, BESIDE, BESIDE]
    return _asked(answer, Users(room, scripts))


def _nobody_there(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    users = Users(room, [PLAIN] * 4)
    users.url = closed_port(room)
    outcome = start(answer, users, Left(), returns=dict[str, str], within=PATIENCE).outcome()
    told = set((outcome.value or {}).values())
    return taught_in(
        "32",
        first_broken(
            (
                outcome.hung or outcome.error is not None or told != {"lost"},
                f"no connection could be made, and your function {_ended(outcome)}",
                "The errors of httpx2 that say so have one base: `httpx2.TransportError`.",
            )
        ),
    )


def _ended(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"raised {type(outcome.error).__name__}"
    return "did not come back" if outcome.hung else f"says {next(iter(outcome.value.values()))!r}"


def _cancelled(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Cancel the function while it waits."""
    users, left = Users(room, [SILENT] * 8), Left()
    started = start(answer, users, left, leave=True, returns=dict[str, str], within=PATIENCE)
    outcome, said = started.outcome(), "your function was cancelled"
    return taught_in(
        "30",
        first_broken(
            (
                outcome.hung or left.took > SOON,
                f"{said}, and did not end",
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


def _asked(answer: Submission, users: Users, left: Left | None = None) -> Verdict | None:
    """Ask for all changes; return what broke."""
    left = left or Left()
    outcome = start(answer, users, left, returns=dict[str, str], within=PATIENCE).outcome()
    return (
        taught_in(
            "30",
            first_broken(
                (
                    users.most > PLACES,
                    f"{users.most} requests were under way at a time",
                    "`httpx2.Limits` says how many connections a client may have.",
                ),
                (
                    left.took > SECONDS + LATE,
                    f"your function came back after more than {SECONDS + LATE} seconds",
                    "The three seconds are for all users together. When does the clock start?",
                ),
            ),
        )
        or rule_broken(outcome, users)
        or taught_in("30", left.broken("your function returned"))
    )
