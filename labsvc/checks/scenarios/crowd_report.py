"""Part of the check of T0: what is wrong with a report on all customers."""

from __future__ import annotations

import math
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.crowd_rules import Customer

NEAR = 0.2  # seconds between what was measured here and there
ALIKE = 0.08  # seconds: a mistake is named if no other explains the number as well
KEYS = ("failed", "ordered", "p95")


def report_broken(report: Any, crowd: Sequence[Customer], slack: float) -> Verdict | None:
    """Return what is wrong with the report, None if nothing is.

    `slack` are the seconds by which the machine itself was late.
    """
    if not isinstance(report, dict) or sorted(map(str, report)) != sorted(KEYS):
        what = sorted(map(str, report)) if isinstance(report, dict) else described(report)
        return broken(f"your function returned {what}", f"Return a dict with {', '.join(KEYS)}.")
    ordered = sum(each.ordered for each in crowd)
    told = (report["ordered"], report["failed"])
    if told != (ordered, len(crowd) - ordered):
        return taught_in(
            "00",
            broken(
                f"{ordered} customers of {len(crowd)} read a success, and your report says"
                f" {told[0]!r} ordered and {told[1]!r} failed",
                "Success is 2xx, all of it and nothing else. Each customer counts once.",
            ),
        )
    return taught_in("01", _p95_broken(report["p95"], crowd, NEAR + slack))


def _p95_broken(got: Any, crowd: Sequence[Customer], near: float) -> Verdict | None:
    if not isinstance(got, int | float) or not math.isfinite(got):
        return broken(f"the p95 in your report is {described(got)}", "Give it in seconds.")
    waits = [each.waited for each in crowd]
    if abs(got - p95(waits)) < near:
        return None
    last = [each.ended - each.tries[-1].start for each in crowd]
    short = [each.waited if each.ordered else each.tries[-1].start - each.wanted for each in crowd]
    mistakes = (
        ([each.waited for each in crowd if each.ordered], "without those who failed", FAILED),
        (short, "without the last try of those who failed", FAILED),
        (last, "of the last tries alone", SINCE),
        ([max(waits)], "the longest wait", RANK),
        ([max(wait for wait in waits if wait < p95(waits))], "one rank too low", RANK),
        ([quantiles(waits, n=100, method="inclusive")[94]], "between two waits", RANK),
        ([sum(waits) / len(waits)], "the mean", RANK),
        ([wait * 1000 for wait in waits], "in milliseconds", "Seconds are wanted."),
    )
    told = "the p95 in your report is not what customers had"
    named = [
        (f"{told}: it is {what}", hint)
        for values, what, hint in mistakes
        if abs(got - p95(values)) < ALIKE * max(1, p95(values))
    ]
    return broken(*named[0]) if len(named) == 1 else broken(told, ALL)


FAILED = "Who waited and got nothing waited all the same: count every customer."
SINCE = "A customer waits from the moment of the schedule until the last try has ended."
RANK = "Nearest rank: sort all waits. The rank is 95 of 100 of their number, rounded up, from 1 on."
ALL = (
    "Count every customer, from the moment of the schedule until the last try has ended. The rank"
    " is 95 of 100 of their number, rounded up."
)


def p95(waits: Sequence[float]) -> float:
    """Return the wait that 95 of 100 do not exceed, by nearest rank."""
    return sorted(waits)[-(-len(waits) * 95 // 100) - 1]
