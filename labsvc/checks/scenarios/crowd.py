"""Test-out of part 0: customers who come by the clock to a shop that stalls and loses answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.crowd_plan import CROWDS
from labsvc.checks.scenarios.crowd_report import report_broken
from labsvc.checks.scenarios.crowd_rules import crowd_broken, customers
from labsvc.checks.scenarios.crowd_sent import ids_broken, requests_broken
from labsvc.checks.scenarios.crowd_stage import Stage
from labsvc.checks.verdict import Verdict, broken, solved, taught_in
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.crowd_plan import Crowd
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

ENDS = 8.0  # seconds in which the last one has ended


@exercise(
    "T0-crowd",
    title="Test out of part 0: customers by the clock, and what they had",
    kind="function",
    deadline=60,  # for what takes six seconds on a quiet machine
)
def crowd(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`order_for_all(http, starts)` lets customers order, and reports how it was."""
    cases = Cases(answer, sandbox)
    return cases.broken(_crowds, within=2 * ENDS + 4) or solved(
        "each customer ordered in time, once, and the report says what they had",
        customers=sum(each.size for each in CROWDS),
    )


def _crowds(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let one crowd come after the other, to the same shop."""
    stage = Stage(room)
    for number, each in enumerate(CROWDS):
        if verdict := _crowd(answer, stage, each):
            told = f"called again, for {each.size} customers: {verdict.guarantee}"
            return replace(verdict, guarantee=told) if number else verdict
    return None


def _crowd(answer: Submission, stage: Stage, crowd: Crowd) -> Verdict | None:
    """Let all of them come once."""
    seen = stage.seen
    seen.come(crowd)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        late = beside.submit(_slack, began, crowd.starts)
        attempt = answer.start(stage.http, list(crowd.starts), within=ENDS)
        outcome = attempt.outcome()
        ended = time.monotonic()
    seen.all_came.set()  # whoever is left is served
    tries, slack = list(seen.tries), late.result()
    if verdict := requests_broken(tries, stage.shop.strangers) or ids_broken(
        tries, crowd.size, seen.earlier, hung=outcome.hung
    ):
        return verdict
    people = customers(tries, [began + start for start in crowd.starts])
    if verdict := crowd_broken(people, ended, slack):
        return verdict
    if outcome.hung:
        raise attempt.hang()
    if isinstance(outcome.error, httpx2.HTTPError):
        hint = "Whoever fails is one of those who `failed` in the report."
        return taught_in("00", broken(f"your function raised {summary(outcome.error)}", hint))
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    return report_broken(outcome.value, people, slack)


def _slack(began: float, starts: Sequence[float]) -> float:
    """Return how late a thread of this machine is at worst: that is no customer's doing."""
    late = [0.0]
    for start in starts:
        time.sleep(max(0.0, began + start - time.monotonic()))
        late.append(time.monotonic() - began - start)
    return max(late)
