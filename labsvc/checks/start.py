"""Exercises of notebook 00: read a tail, and time from the schedule."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved

if TYPE_CHECKING:
    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

SIZES = (100, 1000, 150, 99, 12, 1)
"""Lengths of the lists: whole and broken ranks, fewer than a hundred, a single call."""

CALLS = 20
SPACING = 0.01  # seconds from one intended start to the next
STALL = 0.15  # seconds that the proxy holds each direction of one call
STALLED_CALL = 4
SLOW = 0.1  # seconds from which a user calls it slow


@exercise("00-percentile", title="Find the call that 99 of 100 do not exceed")
def percentile(answer: Answer, _bench: Bench) -> Verdict:
    """`p99(latencies: list[float]) -> float`, by nearest rank, of lists of several sizes."""
    lists = [_latencies(size) for size in SIZES]
    lists.append([0.25] * 200 + [0.5] * 100)  # ties on both sides of the rank
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
    draw = random.Random(size)  # noqa: S311  # no secret depends on it
    values = [round(0.001 * draw.lognormvariate(0.0, 1.5), 9) for _ in range(size)]
    values.sort()
    middle = values[:-1]
    draw.shuffle(middle)
    return middle[: size // 2] + values[-1:] + middle[size // 2 :]


def _wrong_percentile(got: object, latencies: list[float], counts: dict[str, int]) -> Verdict:
    """Say which well-known mistake gives this value."""
    if not isinstance(got, int | float):
        return _wrong_type(got, "one latency, in seconds", **counts)
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


@exercise("00-open-loop", title="Time each call from its intended start")
def open_loop(answer: Answer, bench: Bench) -> Verdict:
    """`user_latencies(intended, calls)`: one latency per user, from one real stall.

    `intended` are the planned starts in seconds, `calls` the (start, finish) that really happened.
    """
    intended, calls = _stalled_run(bench)
    right = [finish - wanted for wanted, (_, finish) in zip(intended, calls, strict=True)]
    blind = [finish - start for start, finish in calls]
    late = [start - wanted for wanted, (start, _) in zip(intended, calls, strict=True)]
    counts = {"calls": CALLS, "users_kept_waiting": _slow(right)}
    if _slow(right) <= _slow(blind):
        msg = "the stall held up no later call"
        raise RuntimeError(msg)
    got = answer(list(intended), list(calls))
    try:
        found = [float(value) for value in got]
    except (TypeError, ValueError):
        return _wrong_type(got, "a list with one latency for each call, in seconds", **counts)
    if _same(found, right):
        return solved("every user's wait is in the list, the stall included", calls=CALLS)
    return diagnose(
        (
            _same(found, blind),
            f"{_slow(right)} users were kept waiting, and your list shows {_slow(found)}",
            "In a stall the next calls start late. Since when have their users been waiting?",
        ),
        (
            _same(found, late),
            "your list has how late each call started, without the call itself",
            "A user waits until the answer is there.",
        ),
        (
            len(found) != CALLS,
            f"{CALLS} calls were made, and your list has {len(found)} latencies",
            "Every call counts, the slow ones most of all: leave none out.",
        ),
        (
            _same(sorted(found), sorted(right)),
            "the latencies are right, but not in the order of the calls",
            "Keep the order of `intended`: one latency for each place.",
        ),
        otherwise=(
            "the latencies are not the waits of the users",
            "Draw one call on a line: intended start, start, finish. Which two ends is the wait?",
        ),
        **counts,
        your_list_shows=_slow(found),
    )


def _stalled_run(bench: Bench) -> tuple[list[float], list[tuple[float, float]]]:
    """Call a real service on a schedule, one call after the other, through one stall."""
    import grpc

    from labsvc.shop.services import UserService
    from labsvc.shop.store import Store
    from labsvc.shop.v1 import user_pb2, user_pb2_grpc

    service = bench.serve_grpc(UserService(Store.seeded()), name="users")
    proxy = bench.proxy(service, name="stall")
    intended: list[float] = []
    calls: list[tuple[float, float]] = []
    with grpc.insecure_channel(proxy.target, [("grpc.enable_http_proxy", 0)]) as channel:
        get_user = user_pb2_grpc.UserServiceStub(channel).GetUser
        request = user_pb2.GetUserRequest(user_id="u-1")
        get_user(request, timeout=5, wait_for_ready=True)
        begin = time.perf_counter()
        for number in range(CALLS):
            wanted = number * SPACING
            time.sleep(max(0.0, begin + wanted - time.perf_counter()))
            if number == STALLED_CALL:
                proxy.set(delay=STALL)
            start = time.perf_counter() - begin
            get_user(request, timeout=5)
            calls.append((start, time.perf_counter() - begin))
            intended.append(wanted)
            if number == STALLED_CALL:
                proxy.clear()
    return intended, calls


def _wrong_type(got: object, wanted: str, **counts: int) -> Verdict:
    """Return the verdict on an answer of the wrong type, most often a forgotten `return`."""
    return diagnose(
        (got is None, "your function returned None", "Is there a `return`?"),
        otherwise=(f"your function returned a {type(got).__name__}", f"Return {wanted}."),
        **counts,
    )


def _slow(latencies: list[float]) -> int:
    return sum(latency > SLOW for latency in latencies)


def _same(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(found, expected, strict=True)
    )
