"""Part of the check of T3: the pauses before a request is sent again."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.saving_scripts import Say
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labsvc.checks.scenarios.saving_stage import Came, User

SHORTEST_PAUSE = 0.045  # seconds; the exercise says .05, and a clock may tick in between
LONGEST_PAUSE = 1.0  # seconds; the exercise says .3, and a busy machine adds to it
NEAR = 0.06  # seconds, of the .25 over which the exercise has the pauses spread
CROWD = 14  # of 20; one time in a thousand, random pauses have so many near each other
LONG = 0.42  # seconds: most pauses are shorter, on a busy machine too
AGAIN = (429, 503)


def crowded(users: Iterable[User]) -> Verdict | None:
    """Return what is wrong with the pauses of users that were all refused at the same time."""
    pauses = [rest for user in users for rest, _ in _pauses(user.asked)[:1]]
    most = max((sum(0 <= other - each <= NEAR for other in pauses) for each in pauses), default=0)
    return taught_in(
        "32",
        first_broken(
            (
                most >= CROWD,
                f"{len(pauses)} requests were refused together, and {most} came back together",
                "Draw each pause anew with `random.uniform(...)`, from the whole range.",
            ),
            (
                statistics.median(pauses or [0.0]) > LONG,
                "most requests were sent again too late",
                "Each pause is .3 seconds at most, beyond what the answer asked for.",
            ),
        ),
    )


def waits(asked: Sequence[Came]) -> Verdict | None:
    """Return what is wrong with the pauses between the requests for one user."""
    pauses = _pauses(asked)
    return first_broken(
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
            any(rest > LONGEST_PAUSE for rest, _ in pauses),
            "a request was sent again too late",
            "Each pause is .3 seconds at most, beyond what the answer asked for.",
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
