"""Second exercise of notebook 01: time from the schedule."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved, wrong_type

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

SCHEDULE = tuple(
    0.03 + hundredths / 100
    for hundredths in (0, 1, 1, 2, 4, 5, 6, 6, 6, 9, 10, 12, 13, 14, 14, 15, 16, 18, 19, 20)
)
"""Intended starts in seconds: not from 0 on, not evenly spaced, and some of them equal."""
CALLS = len(SCHEDULE)
STALL = 0.15  # seconds that the proxy holds each direction of one call
STALLED_CALL = 4
SLOW = 0.1  # seconds from which a user calls it slow


@exercise("01-open-loop", title="Time each call from its intended start")
def open_loop(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`user_latencies(intended, calls)`: one latency per user, from one real stall.

    `intended` are the planned starts in seconds, `calls` the (start, finish) that really happened.
    """
    intended, calls = _stalled_run(sandbox)
    right = [finish - wanted for wanted, (_, finish) in zip(intended, calls, strict=True)]
    blind = [finish - start for start, finish in calls]
    late = [start - wanted for wanted, (start, _) in zip(intended, calls, strict=True)]
    counts = {"calls": CALLS, "users_kept_waiting": _slow(right)}
    if _slow(right) <= _slow(blind):
        msg = "the stall held up no later call"
        raise RuntimeError(msg)
    given = list(intended), list(calls)
    got = answer(*given)
    try:
        found = [float(value) for value in got]
    except (TypeError, ValueError):
        return wrong_type(got, "a list with one latency for each call, in seconds", **counts)
    if given != (intended, calls):
        return broken(
            "your function changed a list that it was given",
            "pop(), sort() and an assignment to a place change the caller's own list.",
            **counts,
        )
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
            len(found) == len(set(intended)),
            f"{CALLS} calls were made, and your list has one for each moment of the schedule",
            "Two users may come at the same moment, and each of them waits.",
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
        *_wrong_schedule(found, intended, calls, right),
        otherwise=(
            "the latencies are not the waits of the users",
            "Draw one call on a line: intended start, start, finish. Which two ends is the wait?",
        ),
        **counts,
        your_list_shows=_slow(found),
    )


def _wrong_schedule(
    found: list[float],
    intended: list[float],
    calls: list[tuple[float, float]],
    right: list[float],
) -> tuple[tuple[bool, str, str], ...]:
    """Return what may be wrong with the starts from which these latencies count."""
    starts = [finish - latency for latency, (_, finish) in zip(found, calls, strict=False)]
    alone = [intended.count(wanted) == 1 for wanted in intended]
    return (
        (
            _constant([late - wanted for late, wanted in zip(starts, intended, strict=False)]),
            "your list has every wait longer or shorter by the same time",
            "`intended` and `calls` are read from one clock, which need not begin at 0.",
        ),
        (
            _constant([later - first for first, later in itertools.pairwise(starts)]),
            "your list counts from starts that are evenly spaced, and these were not",
            "The schedule may have any gaps. `intended` has the start of each call.",
        ),
        (
            _same(list(itertools.compress(found, alone)), list(itertools.compress(right, alone))),
            "of two calls that were meant for the same moment, one got the other's latency",
            "`intended[k]` belongs to `calls[k]`: pair them by their place, not by their time.",
        ),
    )


def _constant(values: list[float]) -> bool:
    return _same(values, values[:1] * len(values))


def _stalled_run(sandbox: Sandbox) -> tuple[list[float], list[tuple[float, float]]]:
    """Call a real service on a schedule, one call after the other, through one stall."""
    import grpc

    from labsvc.shop.services import AioUserService
    from labsvc.shop.store import Store
    from labsvc.shop.v1 import user_pb2, user_pb2_grpc

    service = sandbox.serve_grpc(AioUserService(Store.seeded()), name="users")
    proxy = sandbox.proxy(service, name="stall")
    intended: list[float] = []
    calls: list[tuple[float, float]] = []
    with grpc.insecure_channel(proxy.target, [("grpc.enable_http_proxy", 0)]) as channel:
        get_user = user_pb2_grpc.UserServiceStub(channel).GetUser
        request = user_pb2.GetUserRequest(user_id="u-1")
        get_user(request, timeout=5, wait_for_ready=True)
        begin = time.perf_counter()
        for number, wanted in enumerate(SCHEDULE):
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


def _slow(latencies: list[float]) -> int:
    return sum(latency > SLOW for latency in latencies)


def _same(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(found, expected, strict=True)
    )
