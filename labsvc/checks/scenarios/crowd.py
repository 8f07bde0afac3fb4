"""Test-out of part 0: customers who come by the clock to a shop that stalls and loses answers."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING

import httpx2

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.crowd_report import report_broken
from labsvc.checks.scenarios.crowd_rules import (
    crowd_broken,
    customers,
    orders_broken,
)
from labsvc.checks.scenarios.crowd_stage import STALLED_CUSTOMER, TIMEOUT, Crowded, Seen
from labsvc.checks.verdict import Verdict, broken, solved, taught_in
from labsvc.checks.wording import summary
from labsvc.shop.store import Store

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

CUSTOMERS = 60
RUSH = range(STALLED_CUSTOMER, STALLED_CUSTOMER + 18)  # all come while the shop stalls
AT_ONCE = (10, 11, 12, 30, 31)  # customers who come at the moment of the one before
GAPS = random.Random(4)  # the same ones for everybody


def _gap(number: int) -> float:
    if number in AT_ONCE:
        return 0.0
    return 0.01 if number in RUSH else GAPS.uniform(0.02, 0.08)


STARTS = tuple(accumulate(map(_gap, range(CUSTOMERS))))
"""Seconds from the call of the function to the start of each customer."""
ENDS = 8.0  # seconds in which the last one has ended


@exercise(
    "T0-crowd",
    title="Test out of part 0: customers by the clock, and what they had",
    kind="function",
    deadline=20,
)
def crowd(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`order_for_all(http, starts)` lets customers order, and reports how it was."""
    cases = Cases(answer, sandbox)
    return cases.broken(_crowd) or solved(
        "each customer ordered in time, once, and the report says what they had",
        customers=CUSTOMERS,
    )


def _crowd(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let all of them come once."""
    seen = Seen()
    shop = room.serve_http(Crowded(room.enter(Store.seeded())), name="shop")
    http = room.enter(
        httpx2.Client(base_url=shop.url, timeout=TIMEOUT, transport=seen, trust_env=False)
    )
    began = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        lost = beside.submit(_lost, began)
        attempt = answer.start(http, list(STARTS), within=ENDS)
        outcome = attempt.outcome()
        ended = time.monotonic()
    tries = list(seen.tries)
    if verdict := orders_broken(tries, STARTS, hung=outcome.hung):
        return verdict
    people = customers(tries, [began + start for start in STARTS], lost.result())
    if verdict := crowd_broken(people, ended):
        return verdict
    if outcome.hung:
        raise attempt.hang()
    if isinstance(outcome.error, httpx2.HTTPError):
        hint = "Whoever fails is one of those who `failed` in the report."
        return taught_in("00", broken(f"your function raised {summary(outcome.error)}", hint))
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    return report_broken(outcome.value, people)


def _lost(began: float) -> list[float]:
    """Return how late a thread of this machine is for each start: that is no customer's doing."""
    late = []
    for start in STARTS:
        time.sleep(max(0.0, began + start - time.monotonic()))
        late.append(time.monotonic() - began - start)
    return late
