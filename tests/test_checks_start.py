from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labsvc.checks import run_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Calls = list[tuple[float, float]]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the learner's own progress out of the tests."""
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "data"))


def p99(latencies: list[float]) -> float:
    """Solve the exercise by nearest rank."""
    return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1]


def mutates(latencies: list[float]) -> float:
    """Find the right call, and reorder the caller's list."""
    latencies.sort()
    return latencies[math.ceil(0.99 * len(latencies)) - 1]


def fails_on_short_lists(latencies: list[float]) -> float:
    """Need at least two data points."""
    return statistics.quantiles(latencies, n=100, method="inclusive")[-1]


def test_percentile_solved() -> None:
    """Nearest rank solves the exercise, written by hand or with numpy."""
    verdict = run_check("00-percentile", p99)
    assert (verdict.state, verdict.counts) == ("solved", {"lists": 7, "right": 7})
    by_numpy = run_check(
        "00-percentile", lambda x: float(np.percentile(x, 99, method="inverted_cdf"))
    )
    assert by_numpy.state == "solved"


def test_percentile_stub() -> None:
    """The stub is not attempted."""

    def stub(latencies: list[float]) -> float:
        raise NotImplementedError

    assert run_check("00-percentile", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (statistics.mean, "pull the mean away"),
        (max, "indexes from 0"),
        (lambda x: sorted(x)[min(int(0.99 * len(x)), len(x) - 1)], "indexes from 0"),
        (lambda x: sorted(x)[int(0.99 * len(x)) - 1], "round up"),
        (lambda x: sorted(x)[round(0.99 * len(x)) - 1], "round up"),
        (lambda x: x[math.ceil(0.99 * len(x)) - 1], "after sorting"),
        (lambda x: float(np.percentile(x, 99)), "does not interpolate"),
        (lambda x: sorted(x, reverse=True)[math.ceil(0.99 * len(x)) - 1], "on paper"),
        (mutates, "sorted() makes a new one"),
        (fails_on_short_lists, "does not interpolate"),
        (lambda _: None, "Is there a `return`?"),
        (np.sort, "Return one latency"),
        (lambda x: sorted(x)[100], "in a cell of its own"),
    ],
)
def test_percentile_wrong(answer: Callable[[list[float]], float], hint: str) -> None:
    """Each well-known mistake is not solved, and gets the hint that fits it."""
    verdict = run_check("00-percentile", answer)
    assert verdict.state == "not solved"
    assert hint in verdict.hint


def user_latencies(intended: list[float], calls: Calls) -> list[float]:
    """Solve the exercise."""
    return [finish - wanted for wanted, (_, finish) in zip(intended, calls, strict=True)]


def test_open_loop_solved() -> None:
    """Waits from the intended start solve the exercise, with counts that are always the same."""
    verdict = run_check("00-open-loop", user_latencies)
    assert (verdict.state, verdict.counts) == ("solved", {"calls": 20})
    by_numpy = run_check(
        "00-open-loop", lambda intended, calls: np.array(calls)[:, 1] - np.array(intended)
    )
    assert by_numpy.state == "solved"


def test_open_loop_stub() -> None:
    """The stub is not attempted."""

    def stub(intended: list[float], calls: Calls) -> list[float]:
        raise NotImplementedError

    assert run_check("00-open-loop", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda _, calls: [f - s for s, f in calls], "Since when"),
        (
            lambda intended, calls: [s - i for i, (s, _) in zip(intended, calls, strict=True)],
            "until the answer is there",
        ),
        (lambda intended, calls: sorted(user_latencies(intended, calls)), "Keep the order"),
        (
            lambda intended, calls: [x for x in user_latencies(intended, calls) if x < 0.1],
            "leave none out",
        ),
        (lambda intended, calls: max(user_latencies(intended, calls)), "a list with one latency"),
        (lambda *_: None, "Is there a `return`?"),
        (
            lambda intended, calls: [1000 * x for x in user_latencies(intended, calls)],
            "Which two ends",
        ),
    ],
)
def test_open_loop_wrong(answer: Callable[[list[float], Calls], list[float]], hint: str) -> None:
    """Each well-known mistake is not solved, and gets the hint that fits it."""
    verdict = run_check("00-open-loop", answer)
    assert verdict.state == "not solved"
    assert hint in verdict.hint


def test_open_loop_counts_the_users_a_closed_loop_hides() -> None:
    """The verdict on the blind list says how many users waited and how few it shows."""
    verdict = run_check("00-open-loop", lambda _, calls: [f - s for s, f in calls])
    assert verdict.counts["users kept waiting"] > verdict.counts["your list shows"]
