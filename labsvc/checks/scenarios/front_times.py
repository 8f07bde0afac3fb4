"""Part of the check of T2: the seconds that each try gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labsvc.checks.scenarios.front_visits import Visit

ONE_TRY = 0.6  # seconds, as the exercise says
KEEP = 0.2  # seconds, as the exercise says
ALLOW = 2.0  # seconds that a customer's call may take at most, as the exercise says
CLOCK = 0.08  # seconds between two looks at the clock
SHORT = ONE_TRY - CLOCK  # seconds: a try for which so little is left gets all of it


def in_time(visit: Visit) -> Verdict | None:
    """Return what is wrong with the timeouts of a visit, however busy the machine is.

    A busy machine makes less of what is left after a timeout was computed, and never more: no
    right timeout is too short here.
    """
    timeouts = visit.seen.timeouts
    under = [  # a timeout in the past sends nothing
        min(left, ONE_TRY) - timeout for timeout, left in _limits(visit) if timeout > 0
    ]
    return first_broken(
        (
            None in timeouts,
            "a try had no deadline",
            "Give each try a timeout.",
        ),
        (
            max((each for each in timeouts if each is not None), default=0) > ONE_TRY + 0.001,
            f"a try had more than {ONE_TRY:g} seconds",
            "A try that takes all leaves nothing for the next.",
        ),
        (
            max(under, default=0) > CLOCK,
            "a try had less time than there was",
            f"It may have {ONE_TRY:g} seconds, or all that is left less {KEEP:g}.",
        ),
    )


def kept(visits: Iterable[Visit]) -> Verdict | None:
    """Return whether each try of these visits that had to be short was too long.

    A single one may be: the machine stood still between the look at the clock and the try.
    """
    limits = [limit for visit in visits for limit in _limits(visit)]
    over = [timeout - left for timeout, left in limits if left < SHORT]
    return taught_in(
        "22",
        first_broken(
            (
                min(over, default=0) > CLOCK,
                f"tries had more time than the customer had left, less {KEEP:g} seconds",
                f"Keep {KEEP:g} seconds of what is left. No deadline counts as {ALLOW:g} seconds.",
            ),
        ),
    )


def given_up(visits: Sequence[Visit]) -> Verdict | None:
    """Return whether customers were kept waiting; a machine that stands still does it to a few."""
    waited = sum(visit.left <= 0 and visit.code != "OK" for visit in visits)
    return taught_in(
        "22",
        first_broken(
            (
                waited > len(visits) / 5,
                "the customer had given up when your function came back",
                "The pause counts too. Before it, ask whether anything is left for a try after it.",
            ),
        ),
    )


def _limits(visit: Visit) -> list[tuple[float, float]]:
    """Return the timeout of each try that had one, and what was left for it then."""
    timeouts = [each for each in visit.seen.timeouts if each is not None]
    starts = [start - visit.began for start in visit.seen.starts]
    return [
        (timeout, min(spare + timeout, ALLOW - start) - KEEP)
        for spare, timeout, start in zip(visit.seen.spare, timeouts, starts, strict=False)
    ]
