"""Test-out of part 3: one function that keeps what its notebooks teach about HTTP."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.by_hand import PLACES
from labsvc.checks.scenarios.leaving import Left, start
from labsvc.checks.scenarios.saving_leaving import PATIENCE, cancelled, nobody_there
from labsvc.checks.scenarios.saving_pauses import spread
from labsvc.checks.scenarios.saving_rules import rule_broken
from labsvc.checks.scenarios.saving_scripts import (
    BESIDE,
    DRIPS,
    MENDED,
    PAUSED,
    PLAIN,
    SILENT,
    UNANSWERED,
    WAITS,
)
from labsvc.checks.scenarios.saving_stage import Users
from labsvc.checks.scenarios.saving_told import told
from labsvc.checks.scenarios.third_party import cheap_clients
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
OVER = 0.25  # seconds more, by the loop's own clock
EARLY = 2.7  # seconds; a margin to end in is no fault


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
            or cases.broken(_paused)
            or cases.broken(
                cancelled, beside=[_places, _stuck, _scripted([SILENT] * 8), nobody_there]
            )
        )
    return said or solved(
        "each change was stored or its end told, in time, and nothing was left behind",
        cases=cases.count,
    )


def _scripted(scripts: Sequence[Script]) -> Case:
    """Return the case of users to each of whom something else happens."""

    def scripted(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
        users = Users(room, random.sample(scripts, len(scripts)))
        return _judged(*_asked(answer, users))

    return scripted


def _whole(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Change users with whom nothing goes wrong."""
    outcome, users, left = _asked(answer, Users(room, [PLAIN] * 8))
    said = "eight users were to be changed"
    return _judged(outcome, users, left) or taught_in(
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


def _paused(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Refuse every request of as many users as there are places: nobody waits for one."""
    outcome, users, left = _asked(answer, Users(room, [PAUSED] * PLACES))
    return spread(list(users.users.values())) or _judged(outcome, users, left)


def _places(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let the first users pause for a second: meanwhile their places are for the others."""
    outcome, users, left = _asked(answer, Users(room, [WAITS] * PLACES + [PLAIN] * PLACES))
    everybody = list(users.users.values())
    refused = [came for user in everybody[:PLACES] for came in user.asked[:1]]
    back = min((came.answered + came.wait for came in refused), default=0)
    others = [came.at for user in everybody[PLACES:] for came in user.asked[:1]]
    return _judged(outcome, users, left) or taught_in(
        "30",
        first_broken(
            (
                min(others, default=0) > back,
                f"{PLACES} users had to pause, and no request of another came meanwhile",
                "A pause holds no place: a place is for a request, from its sending to its answer.",
            ),
        ),
    )


def _stuck(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let two users be stuck, among others."""
    scripts = [BESIDE, DRIPS, *[BESIDE] * 3, UNANSWERED, BESIDE, BESIDE]
    return _judged(*_asked(answer, Users(room, scripts)))


def _asked(answer: Submission, users: Users) -> tuple[Outcome, Users, Left]:
    """Ask for all changes."""
    left = Left()
    returns = dict[str, str]
    attempt = start(answer, users, left, returns=returns, within=PATIENCE, due=SECONDS)
    return attempt.outcome(), users, left


def _judged(outcome: Outcome, users: Users, left: Left) -> Verdict | None:
    """Return what broke in a call, whatever it was about."""
    late = "late" in (outcome.value or {}).values()
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
                    left.took > SECONDS + LATE or left.over > OVER,
                    f"your function came back after {left.took:.1f} seconds",
                    "The three seconds are for all users together. When does the clock start?",
                ),
            ),
        )
        or rule_broken(outcome, users)
        or taught_in(
            "30",
            first_broken(
                (
                    late and left.took < EARLY,
                    f"your function says 'late' after {left.took:.1f} seconds",
                    "Who can still be saved within three seconds is not late.",
                ),
            )
            or left.broken("your function returned"),
        )
    )
