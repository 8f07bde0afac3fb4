from __future__ import annotations

from typing import Any

import pytest

from labsvc.checks.scenarios.crowd_report import RANK, SINCE, p95, report_broken
from labsvc.checks.scenarios.crowd_rules import Customer
from labsvc.checks.scenarios.crowd_seen import Try

TOLD = "the p95 in your report is not what customers had"


def customer(before: float, last: float, status: int | None = 201) -> Customer:
    """Return who was answered so, by a last try of so many seconds, so many after the start."""
    lost = [Try(0.0, "POST", {}, {}, end=before)] if before else []
    return Customer(0.0, [*lost, Try(before, "POST", {}, {}, end=before + last, status=status)])


# Forty: rank 38 is the p95. No two mistakes give nearly the same number.
CROWD = [
    *(customer(0.0, 0.1) for _ in range(30)),
    *(customer(0.5, 0.5) for _ in range(4)),
    *(customer(before, 0.75, None) for before in (0.75, 1.25, 1.85, 2.25, 2.85, 3.65)),
]
P95 = 3.0


def verdict_of(value: Any, crowd: list[Customer] = CROWD, slack: float = 0) -> Any:
    """Return the verdict on this p95, where all else in the report is right."""
    ordered = sum(each.ordered for each in crowd)
    report = {"ordered": ordered, "failed": len(crowd) - ordered, "p95": value}
    return report_broken(report, crowd, slack)


def test_counts_that_are_told_and_those_that_are_right_are_named() -> None:
    """Whoever counts two failures as successes reads both numbers."""
    verdict: Any = report_broken({"ordered": 36, "failed": 4, "p95": P95}, CROWD, slack=0)
    assert "34 customers of 40 read a success" in verdict.guarantee
    assert "says 36 ordered and 4 failed" in verdict.guarantee
    assert "Success is 2xx, all of it and nothing else" in verdict.hint


def test_p95_may_differ_by_what_is_measured_here_and_there() -> None:
    """By a fifth of a second, and by what the machine was late."""
    assert p95([each.waited for each in CROWD]) == P95
    assert verdict_of(P95 - 0.15) is None
    assert verdict_of(P95 + 0.15) is None
    assert verdict_of(P95 + 0.25) is not None
    assert verdict_of(P95 + 0.25, slack=0.1) is None


@pytest.mark.parametrize(
    ("value", "what", "hint"),
    [
        (1.0, "without those who failed", "Who waited and got nothing"),
        (2.25, "without the last try of those who failed", "Who waited and got nothing"),
        (0.75, "of the last tries alone", SINCE),
        (4.4, "the longest wait", RANK),
        (2.6, "one rank too low", RANK),
        (0.6025, "the mean", RANK),
        (3000, "in milliseconds", "Seconds are wanted"),
    ],
)
def test_mistake_that_alone_explains_the_p95_is_named(value: float, what: str, hint: str) -> None:
    """The verdict says which one, with its own hint."""
    verdict = verdict_of(value)
    assert verdict.guarantee.endswith(f"{TOLD}: it is {what}"), verdict
    assert hint in verdict.hint


def test_value_between_two_waits_is_named() -> None:
    """Of twelve the last one is the p95: an interpolated one lies below."""
    twelve = [*(customer(0.0, 0.1) for _ in range(10)), customer(0.5, 0.5), customer(2.0, 1.0)]
    assert verdict_of(1.9, twelve).guarantee.endswith("it is between two waits")


@pytest.mark.parametrize("value", [0.0, 0.67, 1.6])
def test_value_that_no_mistake_alone_explains_has_the_whole_rule_as_its_hint(value: float) -> None:
    """Nothing is guessed: .67 may be the mean, and may be the last tries."""
    verdict = verdict_of(value)
    assert verdict.guarantee.endswith(TOLD)
    assert "Count every customer" in verdict.hint
    assert "95 of 100 of their number, rounded up" in verdict.hint
