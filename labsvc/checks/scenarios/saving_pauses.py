"""Part of the check of T3: the pauses before a request is sent again.

They are seen at the service. What a machine adds to them is seen there too: requests that follow
an answer without a pause.
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE
from labsvc.checks.scenarios.saving_scripts import Say
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labsvc.checks.scenarios.saving_stage import Came, User

LONG = 0.33  # seconds; the exercise says .3
LONGEST_PAUSE = 1.0  # seconds, where a request may have waited for a place too
ENOUGH = 16  # pauses, to say how they are spread
SEVERAL = 5  # pauses for one user; one time in 10,000, they are all near each other
LOW, HIGH = 0.095, 0.245  # seconds; one time in 500, 32 pauses are all above, or all below
NEAR = 0.02  # seconds, of the .25 over which the exercise has the pauses spread
CROWD = 12  # of 32; one time in 2000, random pauses have so many near each other
FINAL = "Draw each pause anew, from the whole range: `random.uniform(.05, .3)`."
AGAIN = (429, 503)


def spread(users: Sequence[User]) -> Verdict | None:
    """Return what is wrong with the pauses for users none of whom waits for a place."""
    each = [[rest for rest, _ in _pauses(user.asked)] for user in users]
    pauses = sorted(rest for of_one in each for rest in of_one)
    if len(pauses) < ENOUGH:
        return None
    usual, slowest = _machine(users)
    near = max(sum(0 <= other - rest <= NEAR for other in pauses) for rest in pauses)
    said = f"of {len(pauses)} pauses"
    return taught_in(
        "32",
        first_broken(
            (
                sum(rest > LONG + slowest for rest in pauses) > len(pauses) / 8,
                f"{said} many were too long: requests were sent again too late",
                "Each pause is .3 seconds at most, beyond what the answer asked for.",
            ),
            (
                near >= CROWD,
                f"{said}, {near} were as long as each other",
                f"Those who were refused together come back together. {FINAL}",
            ),
            (
                any(max(of_one) - min(of_one) < NEAR for of_one in each if len(of_one) >= SEVERAL),
                f"{said}, all for one user were as long as each other",
                FINAL,
            ),
            (
                pauses[0] - usual > LOW,
                f"{said}, none was near .05 seconds",
                FINAL,
            ),
            (
                pauses[-1] < HIGH,
                f"{said}, none was near .3 seconds",
                FINAL,
            ),
        ),
    )


def waits(users: Sequence[User]) -> Verdict | None:
    """Return what is wrong with a single pause between the requests for one user."""
    pauses = [pause for user in users for pause in _pauses(user.asked)]
    return taught_in(
        "32",
        first_broken(
            (
                any(rest < SHORTEST_PAUSE and not wait for rest, wait in pauses),
                "a request was sent again at once",
                "A server that has just fallen needs a moment: .05 seconds at least.",
            ),
            (
                any(rest < -SHORTEST_PAUSE for rest, _ in pauses),
                "a request came before the time that the service had asked for",
                "`seconds_asked(answer)` reads `Retry-After`. Add it to the random time.",
            ),
            (
                any(rest < SHORTEST_PAUSE for rest, _ in pauses),
                "a request came at the very moment that the service had named",
                "So do all others who were sent away. Add a random time, .05 seconds at least.",
            ),
            (
                any(rest > LONGEST_PAUSE + _machine(users)[1] for rest, _ in pauses),
                "a request was sent again too late",
                "Each pause is .3 seconds at most, beyond what the answer asked for.",
            ),
        ),
    )


def _pauses(asked: Sequence[Came]) -> list[tuple[float, float]]:
    """Return the seconds before each request that repeats another, and what that one asked for."""
    return [
        (after.at - before.answered - before.wait, before.wait)
        for before, after in pairwise(asked)
        if before.said not in (None, "other", "silent", "drips")
        and not (isinstance(before.said, Say) and before.said.status not in AGAIN)
    ]


def _machine(users: Iterable[User]) -> tuple[float, float]:
    """Return the seconds, usual and slowest, before a request that needs no pause."""
    seconds = [
        after.at - before.answered
        for user in users
        for before, after in pairwise(user.asked)
        if before.said in (None, "other")
    ]
    return statistics.median(seconds or [0.0]), max(seconds, default=0.0)
