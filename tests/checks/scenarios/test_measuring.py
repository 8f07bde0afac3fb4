from __future__ import annotations

import heapq
import math
import operator
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Calls = list[tuple[float, float]]


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


def by_the_largest(latencies: list[float]) -> float:
    """Solve it from the top: one call of a hundred may be slower."""
    return heapq.nlargest(len(latencies) // 100 + 1, latencies)[-1]


def by_counting(latencies: list[float]) -> float:
    """Solve it by the definition: the first that 99 of 100 do not exceed."""
    return next(
        one
        for one in sorted(latencies)
        if 100 * sum(other <= one for other in latencies) >= 99 * len(latencies)
    )


@pytest.mark.parametrize(
    "answer",
    [
        p99,
        by_the_largest,
        by_counting,
        lambda x: float(np.percentile(x, 99, method="inverted_cdf")),
        partial(np.percentile, q=99, method="inverted_cdf"),
    ],
)
def test_percentile_solved(answer: Callable[..., Any]) -> None:
    """Nearest rank solves the exercise, written by hand, from the top or with numpy."""
    verdict = run_check("01-percentile", answer)
    assert (verdict.state, verdict.counts) == ("solved", {"lists": 7, "right": 7})


def test_percentile_stub() -> None:
    """The stub is not attempted."""

    def stub(latencies: list[float]) -> float:
        raise NotImplementedError

    assert_not_attempted("01-percentile", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (statistics.mean, "the mean came back", "pull the mean away"),
        (max, "the slowest call came back", "indexes from 0"),
        (
            lambda x: sorted(x)[min(int(0.99 * len(x)), len(x) - 1)],
            "the slowest call came back",
            "indexes from 0",
        ),
        (lambda x: sorted(x)[int(0.99 * len(x)) - 1], "one rank beside the right one", "round up"),
        (
            lambda x: sorted(x)[round(0.99 * len(x)) - 1],
            "one rank beside the right one",
            "round up",
        ),
        (lambda x: p99(list(set(x))), "were counted as one", "are two calls"),
        (lambda x: x[math.ceil(0.99 * len(x)) - 1], "the list was not in order", "after sorting"),
        (
            lambda x: float(np.percentile(x, 99)),
            "a latency came back that no call had",
            "does not interpolate",
        ),
        (
            lambda x: sorted(x, reverse=True)[math.ceil(0.99 * len(x)) - 1],
            "the wrong call came back",
            "on paper",
        ),
        (mutates, "changed the list that it was given", "sorted() makes a new one"),
        (fails_on_short_lists, "a latency came back that no call had", "does not interpolate"),
        (lambda _: None, "returned None", "Is there a `return`"),
        (np.sort, "returned a ndarray", "Return one latency"),
        (lambda x: sorted(x)[100], "raised IndexError", "in a cell of its own"),
    ],
)
def test_percentile_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each well-known mistake is not solved, for its own reason and with its own hint."""
    assert_wrong("01-percentile", answer, guarantee, hint)


def user_latencies(intended: list[float], calls: Calls) -> list[float]:
    """Solve the exercise."""
    return [finish - wanted for wanted, (_, finish) in zip(intended, calls, strict=True)]


def evenly(intended: list[float], calls: Calls) -> list[float]:
    """Take the schedule for a regular one."""
    step = intended[1] - intended[0]
    return [finish - intended[0] - k * step for k, (_, finish) in enumerate(calls)]


def evenly_from_zero(intended: list[float], calls: Calls) -> list[float]:
    """Take the schedule for a regular one that begins at 0."""
    step = (intended[-1] - intended[0]) / (len(intended) - 1)
    return [finish - k * step for k, (_, finish) in enumerate(calls)]


def begins_at_zero(intended: list[float], calls: Calls) -> list[float]:
    """Count the schedule from its first call on, and the calls from 0."""
    pairs = zip(intended, calls, strict=True)
    return [finish - (wanted - intended[0]) for wanted, (_, finish) in pairs]


def by_moment(intended: list[float], calls: Calls) -> list[float]:
    """Keep one call for each moment."""
    return [finish - wanted for wanted, (_, finish) in dict(zip(intended, calls)).items()]  # noqa: B905


def looks_up(intended: list[float], calls: Calls) -> list[float]:
    """Look each call up by its moment."""
    return [calls[intended.index(wanted)][1] - wanted for wanted in intended]


def pops(intended: list[float], calls: Calls) -> list[float]:
    """Use up the calls."""
    return [calls.pop(0)[1] - wanted for wanted in intended]


def writes_over(intended: list[float], calls: Calls) -> list[float]:
    """Put the latencies where the schedule was."""
    for place, (_, finish) in enumerate(calls):
        intended[place] = finish - intended[place]
    return intended


def waits_and_takes(intended: list[float], calls: Calls) -> list[float]:
    """Solve it as the sum of what a call waited and what it took."""
    latencies = []
    for place, (start, finish) in enumerate(calls):
        waited = start - intended[place]
        latencies.append(waited + (finish - start))
    return latencies


class Latencies:
    """Solve it with an object that can be called."""

    def __call__(self, intended: list[float], calls: Calls) -> list[float]:
        """Take each start from its finish."""
        return list(map(operator.sub, [finish for _, finish in calls], intended))


async def in_a_coroutine(intended: list[float], calls: Calls) -> list[float]:
    """Solve it as a coroutine."""
    return user_latencies(intended, calls)


@pytest.mark.parametrize(
    "answer",
    [
        user_latencies,
        waits_and_takes,
        Latencies(),
        in_a_coroutine,
        lambda intended, calls: np.array(calls)[:, 1] - np.array(intended),
    ],
)
def test_open_loop_solved(answer: Callable[..., Any]) -> None:
    """Waits from the intended start solve the exercise, with counts that are always the same."""
    verdict = run_check("01-open-loop", answer)
    assert (verdict.state, verdict.counts) == ("solved", {"calls": 20})


def test_open_loop_stub() -> None:
    """The stub is not attempted."""

    def stub(intended: list[float], calls: Calls) -> list[float]:
        raise NotImplementedError

    assert_not_attempted("01-open-loop", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (
            lambda _, calls: [f - s for s, f in calls],
            "users were kept waiting, and your list shows",
            "Since when",
        ),
        (
            lambda intended, calls: [s - i for i, (s, _) in zip(intended, calls, strict=True)],
            "how late each call started",
            "until the answer is there",
        ),
        (
            lambda intended, calls: sorted(user_latencies(intended, calls)),
            "not in the order of the calls",
            "Keep the order",
        ),
        (
            lambda intended, calls: [x for x in user_latencies(intended, calls) if x < 0.1],
            "20 calls were made, and your list has",
            "leave none out",
        ),
        (
            lambda intended, calls: max(user_latencies(intended, calls)),
            "returned a float",
            "a list with one latency",
        ),
        (lambda *_: None, "returned None", "Is there a `return`"),
        (
            lambda intended, calls: [1000 * x for x in user_latencies(intended, calls)],
            "not the waits of the users",
            "Which two ends",
        ),
        (lambda *_: [], "20 calls were made, and your list has", "leave none out"),
        (evenly, "evenly spaced", "any gaps"),
        (evenly_from_zero, "evenly spaced", "any gaps"),
        (begins_at_zero, "longer or shorter by the same time", "need not begin at 0"),
        (by_moment, "one for each moment", "each of them waits"),
        (looks_up, "one got the other's latency", "by their place"),
        (pops, "changed a list that it was given", "the caller's own list"),
        (writes_over, "changed a list that it was given", "the caller's own list"),
    ],
)
def test_open_loop_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each well-known mistake is not solved, for its own reason and with its own hint."""
    assert_wrong("01-open-loop", answer, guarantee, hint)


def test_open_loop_counts_the_users_a_closed_loop_hides() -> None:
    """The verdict on the blind list says how many users waited and how few it shows."""
    verdict = run_check("01-open-loop", lambda _, calls: [f - s for s, f in calls])
    assert verdict.counts["users kept waiting"] > verdict.counts["your list shows"]
