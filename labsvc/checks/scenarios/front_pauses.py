"""Part of the check of T2: the pauses between tries, and what a function does in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE, crowded
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.front_visits import Visit

HIGH = 0.4  # seconds; one time in 20,000, 40 pauses are all below
NEAR = 0.03  # seconds, of the .45 over which the exercise has the pauses spread
SAME = 0.05  # seconds; one time in 1000, more than half of 20 random pairs are so near
CROWD = 13  # of 40; one time in 10,000, random pauses have so many near each other
FINAL = "Draw each pause anew, from the whole range: `random.uniform(.05, .5)`."


def pauses(visit: Visit) -> list[float]:
    """Return the seconds between the tries of a visit."""
    return [start - end for start, end in zip(visit.seen.starts[1:], visit.seen.ends, strict=False)]


def prompt(visits: Sequence[Visit]) -> Verdict | None:
    """Return whether each of these visits was held up before its first try, or after its last.

    A busy machine holds up some of them, and not each by a whole pause.
    """
    asked = [visit for visit in visits if visit.seen.ends]
    first = [visit.seen.starts[0] - visit.began for visit in asked]
    idle = [visit.began + visit.took - max(visit.seen.ends) for visit in asked]
    return first_broken(
        (
            min(first, default=0) > SHORTEST_PAUSE,
            "your function waited before its first try",
            "Pause before each further try. The first one begins at once.",
        ),
        (
            min(idle, default=0) > SHORTEST_PAUSE,
            "your function waited after its last try",
            "Before a pause, ask whether there is a try after it, and time for one.",
        ),
    )


def spread(visits: Sequence[Visit]) -> Verdict | None:
    """Return what is wrong with the pauses of customers who all failed at the same moment."""
    each = [*map(pauses, visits)]
    every = sorted(pause for of_one in each for pause in of_one)
    near = max((sum(0 <= other - one <= NEAR for other in every) for one in every), default=0)
    same = sum(len(of_one) > 1 and max(of_one) - min(of_one) < SAME for of_one in each)
    said = f"of {len(every)} pauses"
    return (
        prompt(visits)
        or crowded(each)
        or first_broken(
            (
                near >= CROWD,
                f"{said}, {near} were as long as each other",
                f"Those who failed together come back together. {FINAL}",
            ),
            (
                same > len(visits) / 2,
                f"{said}, those of one visit were as long as each other",
                FINAL,
            ),
            (
                bool(every) and every[-1] < HIGH,
                f"{said}, none was near half a second",
                FINAL,
            ),
        )
    )
