"""Part of the check of T0: what is wrong with a report on all customers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.crowd_rules import Customer

NEAR = 0.2  # seconds between what was measured here and there
KEYS = ("failed", "ordered", "p95")


def report_broken(report: Any, crowd: Sequence[Customer]) -> Verdict | None:
    """Return what is wrong with the report, None if nothing is."""
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
                "An error status is an answer and no success. Each customer counts once.",
            ),
        )
    return taught_in("01", _p95_broken(report["p95"], crowd))


def _p95_broken(got: Any, crowd: Sequence[Customer]) -> Verdict | None:
    if not isinstance(got, int | float) or not math.isfinite(got):
        return broken(f"the p95 in your report is {described(got)}", "Give it in seconds.")
    waits = [each.waited for each in crowd]
    if abs(got - p95(waits)) < NEAR:
        return None
    last = [each.ended - each.tries[-1].start for each in crowd]
    mistakes = (
        ([each.waited for each in crowd if each.ordered], "without those who failed", FAILED),
        (last, "of the last tries alone", SINCE),
        ([max(waits)], "the longest wait", RANK),
        ([sum(waits) / len(waits)], "the mean", RANK),
        ([wait * 1000 for wait in waits], "in milliseconds", "Seconds are wanted."),
    )
    values, what, hint = min(mistakes, key=lambda one: abs(got - p95(one[0])))
    told = "the p95 in your report is not what customers had"
    if abs(got - p95(values)) > NEAR * max(1, p95(values)):
        return broken(told, f"{SINCE} {RANK}")
    return broken(f"{told}: it is {what}", hint)


FAILED = "Who waited and got nothing waited all the same: count every customer."
SINCE = "A customer waits from the moment of the schedule until the last try has ended."
RANK = "Nearest rank: sort all waits. The rank is 95 of 100 of their number, rounded up, from 1 on."


def p95(waits: Sequence[float]) -> float:
    """Return the wait that 95 of 100 do not exceed, by nearest rank."""
    return sorted(waits)[-(-len(waits) * 95 // 100) - 1]
