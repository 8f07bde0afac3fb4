"""Test-out of part 5: a worker that keeps what its notebooks teach, wherever it dies."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import live
from labsvc.checks.scenarios.restart_bodies import MOST_UNITS, unreadable
from labsvc.checks.scenarios.restart_faults import beside_others, bounded, database_fails
from labsvc.checks.scenarios.restart_rules import call, what_is_wrong
from labsvc.checks.scenarios.restart_silence import silent_from_a_statement, silent_from_the_start
from labsvc.checks.scenarios.restart_stage import (
    PLENTY,
    SKU,
    SPACED,
    START,
    Sent,
    Stage,
    cancel,
    orders,
)
from labsvc.checks.verdict import Verdict, solved
from labsvc.sweep import Database

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

CASE_SECONDS = 45.0  # one takes less than a second, but for the waits that an answer has to end
AT_ONCE = 4  # runs of a sweep, beside five other cases: more would run into each other's timeouts


@exercise(
    "T5-restart",
    title="Test out of part 5: a worker that may die anywhere",
    kind="coroutine",
    deadline=90,
)
def restart(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`catch_up(db, url, inbox, events)`: each message has one effect, and one event of it."""
    cases = Cases(answer, sandbox)
    asked = partial(cases.broken, within=CASE_SECONDS, at_once=AT_ONCE)
    beside = [_alike, _cancelled_after, _cancelled_before, database_fails, beside_others, bounded]
    silent = [silent_from_the_start, silent_from_a_statement]
    return (
        asked(_all_sorts)
        or asked(_links_break, only=("lost",), beside=beside)
        or asked(_is_killed, only=("killed",), beside=silent)
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
    for body in unreadable():
        messages.insert(random.randint(1, len(messages)), body)
    half = len(messages) // 2
    for part in (messages[:half], messages[half:], []):
        stage.send(*part)
        if found := call(stage):
            return found
    return what_is_wrong(stage)


def _alike(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let ids and skus come that are one for who tidies them up."""
    tale = "ids and skus came that differ in one letter's case or a space"
    hint = "Take each id and each sku as it came: without lower(), without strip()."
    stage = Stage(answer, room, run, tale, hint=hint)
    [order] = orders(1)
    ids = order.order_id, order.order_id.upper(), order.order_id + " "
    units = 1, MOST_UNITS, START
    for each in zip(ids, units, (SKU, PLENTY, SPACED), strict=True):
        stage.send(Sent("order", *each))
    return call(stage) or what_is_wrong(stage)


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
    some = orders(len(kinds), random.randint(20, MOST_UNITS), PLENTY)
    for each, order in zip(kinds, some, strict=True):
        stage.send(*(order if kind == "o" else cancel(order) for kind in each))
    stage.send(*orders(1))
    return call(stage) or what_is_wrong(stage, "53")


def _links_break(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Break its connection at messages, confirms and acknowledgements, and call it again."""
    stage = Stage(answer, room, run, waits=2)
    stage.send(*orders(1), random.choice(unreadable()))
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
