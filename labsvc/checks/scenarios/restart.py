"""Test-out of part 5: a worker that keeps what its notebooks teach, wherever it dies."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import live
from labsvc.checks.scenarios.restart_faults import beside_others, bounded, database_fails
from labsvc.checks.scenarios.restart_rules import call, what_is_wrong
from labsvc.checks.scenarios.restart_stage import START, UNREADABLE, Sent, Stage, cancel, orders
from labsvc.checks.verdict import Verdict, solved
from labsvc.sweep import Database

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

CASE_SECONDS = 30.0  # one takes less than a second where there is time
AT_ONCE = 4  # runs of a sweep, beside five other cases: more would run into each other's timeouts


@exercise(
    "T5-restart",
    title="Test out of part 5: a worker that may die anywhere",
    kind="coroutine",
    deadline=60,
)
def restart(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`catch_up(db, url, inbox, events)`: each message has one effect, and one event of it."""
    cases = Cases(answer, sandbox)
    asked = partial(cases.broken, within=CASE_SECONDS, at_once=AT_ONCE)
    beside = [_cancelled_after, _cancelled_before, database_fails, beside_others, bounded]
    return (
        asked(_all_sorts)
        or asked(_links_break, only=("lost",), beside=beside)
        or asked(_is_killed, only=("killed",))
        or solved(
            "each message had one effect and one event, wherever the worker was stopped",
            cases=cases.count,
        )
    )


def _all_sorts(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Handle orders, copies and bodies that cannot be read, and then nothing."""
    stage = Stage(answer, room, run, "some messages came twice", waits=3)
    first, second, third = orders(3)
    more = [*orders(1, START), Sent("order", "o-x", 1, "no-such-sku"), first, third]
    messages: list[Sent | bytes] = [first, second, first, third, *more]
    for body in UNREADABLE:
        messages.insert(random.randint(1, len(messages)), body)
    for part in (messages[:8], messages[8:], []):
        stage.send(*part)
        if found := call(stage):
            return found
    return what_is_wrong(stage)


def _cancelled_after(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Cancel orders behind them, and let copies come."""
    stage = Stage(answer, room, run, "an order was cancelled")
    [too_large] = orders(1, START + 1)
    stage.send(too_large, cancel(too_large))
    return _in_turn(stage, "oc", "occ", "oco")


def _cancelled_before(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Cancel orders before them, and let copies come."""
    stage = Stage(answer, room, run, "a cancel came before its order")
    return _in_turn(stage, "co", "coc", "ccoo")


def _in_turn(stage: Stage, *kinds: str) -> Verdict | None:
    """Send an order ("o") and its cancel ("c") as often as said, and another behind them."""
    for each, order in zip(kinds, orders(len(kinds)), strict=True):
        stage.send(*(order if kind == "o" else cancel(order) for kind in each))
    stage.send(*orders(1))
    return call(stage) or what_is_wrong(stage, "53")


def _links_break(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Break its connection at messages, confirms and acknowledgements, and call it again."""
    stage = Stage(answer, room, run, waits=2)
    stage.send(*orders(1), random.choice(UNREADABLE))
    for _ in run.plan:
        if found := call(stage):
            return found
    return call(stage) or what_is_wrong(stage)


def _is_killed(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Kill it at each message, confirm, commit and acknowledgement, and call it again."""
    stage = Stage(answer, room, run, waits=0)
    [order] = orders(1)
    stage.send(order, cancel(order))
    args = Database(stage.path), *stage.args
    return live(run, answer.function, answer.function, *args) or call(stage) or what_is_wrong(stage)
