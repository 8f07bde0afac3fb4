"""First exercise of notebook 01: read a tail."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved, wrong_type

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

SIZES = (100, 1000, 150, 99, 12, 1)
"""Lengths of the lists: whole and broken ranks, fewer than a hundred, a single call."""


@exercise("01-percentile", title="Find the call that 99 of 100 do not exceed")
def percentile(answer: Submission, _bench: Sandbox) -> Verdict:
    """`p99(latencies: list[float]) -> float`, by nearest rank, of lists of several sizes."""
    lists = [_latencies(size) for size in SIZES]
    # Ties on both sides of the rank; whoever counts each value once takes the slowest.
    lists.append([0.25] * 200 + [0.5] * 97 + [0.75] * 3)
    for done, latencies in enumerate(lists):
        given = latencies.copy()
        got = answer(given)
        counts = {"lists": len(lists), "right": done, "length_of_this_one": len(latencies)}
        if given != latencies:
            return broken(
                "your function changed the list that it was given",
                "list.sort() reorders the caller's own list; sorted() makes a new one.",
                **counts,
            )
        if not isinstance(got, int | float) or got != nearest_rank(latencies):
            return _wrong_percentile(got, latencies, counts)
    return solved("the right call came back from every list", lists=len(lists), right=len(lists))


def nearest_rank(latencies: list[float]) -> float:
    """Return the smallest value that at least 99 of 100 values do not exceed."""
    rank = -(-99 * len(latencies) // 100)  # ceil(0.99 n), without the error of floats
    return sorted(latencies)[rank - 1]


def _latencies(size: int) -> list[float]:
    """Return `size` distinct latencies in seconds, in no order, a few of them very long."""
    draw = random.Random(size)  # no secret depends on it
    values = [round(0.001 * draw.lognormvariate(0.0, 1.5), 9) for _ in range(size)]
    values.sort()
    middle = values[:-1]
    draw.shuffle(middle)
    return middle[: size // 2] + values[-1:] + middle[size // 2 :]


def _wrong_percentile(got: object, latencies: list[float], counts: dict[str, int]) -> Verdict:
    """Say which well-known mistake gives this value."""
    if not isinstance(got, int | float):
        return wrong_type(got, "one latency, in seconds", **counts)
    ordered = sorted(latencies)
    index = ordered.index(nearest_rank(latencies))
    last = len(ordered) - 1
    return diagnose(
        (
            math.isclose(got, sum(latencies) / len(latencies)),
            "the mean came back, and most calls are faster than it",
            "A few slow calls pull the mean away from every real call. Count calls instead.",
        ),
        (
            got == nearest_rank(list(set(latencies))),
            "calls that took equally long were counted as one",
            "Two calls with the same latency are two calls: every one has a rank of its own.",
        ),
        (
            got == ordered[last],
            "the slowest call came back, and one call in a hundred may be slower than the p99",
            "Ranks count from 1, indexes from 0: which index has the call of rank 99 of 100?",
        ),
        (
            got in ordered[max(0, index - 1) : index + 2],
            "a call one rank beside the right one came back",
            "If 0.99 times the length is not whole, round up: that is the rank, from 1 on.",
        ),
        (
            got in latencies[max(0, index - 1) : index + 2],
            "the place was right, but the list was not in order",
            "A rank means something only after sorting.",
        ),
        (
            got not in latencies,
            "a latency came back that no call had",
            "Nearest rank does not interpolate: the answer is one of the latencies.",
        ),
        otherwise=(
            "the wrong call came back",
            "Write ten latencies on paper, in order, and count to the one you want.",
        ),
        **counts,
    )
