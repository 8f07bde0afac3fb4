"""Calls that another process serves: after the answer, or between two statements of it."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING, Any

from labsvc.checks.asking import wait
from labsvc.checks.examiner import Terms
from labsvc.checks.in_child import cannot_travel
from labsvc.checks.scenarios.voucher_desk import KINDS, PRICE, START, Desk, orders
from labsvc.checks.verdict import Verdict, broken
from labsvc.checks.wording import summary
from labsvc.sweep.packing import can_travel, copied

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Submission
    from labsvc.sweep import Run

MOST_STATEMENTS = 12
BLOCKED_SECONDS = 0.1  # after which a call between two statements is taken for waiting
TERMS = Terms(sqlite3.Error, None, "function", object)
TURN = Terms(Exception, None, "function", object)
TOGETHER = "Read and write in one transaction that is begun by a write: the INSERT first, or BEGIN"


def taking_turns(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let two processes serve the calls of a saga in turns, in every order.

    In one process every order was right before, so what is wrong here was kept in a variable.
    """
    if not can_travel(answer.function):
        return cannot_travel(answer.function, "two processes serve the calls of a saga:")
    functions = answer.function, copied(answer.function)
    desk = Desk(answer, room)
    for order in orders():
        desk.renew()
        for call, function in zip(order, itertools.cycle(functions), strict=False):
            db = desk.connect()
            end = answer.begin(function, (db, *desk.args(call)), TURN).outcome()
            if end.error is not None:
                return _forgotten(f"a {KINDS[call]} raised {summary(end.error)}")
            if verdict := desk.judge(call, end.value, open_ended=db.in_transaction):
                return _forgotten(verdict.guarantee)
    return None


def _forgotten(what: str) -> Verdict:
    return broken(
        f"two processes served the calls of a saga in turns: {what}",
        "A variable is empty in another process. What is done stands in `calls`.",
    )


def between_statements(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let another process serve a call of the same saga before each statement of one."""
    elsewhere = copied(answer.function)
    desk = Desk(answer, room)
    for before, outer, inner in (("", "r", "g"), ("", "g", "r"), ("", "r", "r"), ("r", "g", "g")):
        for number in range(1, MOST_STATEMENTS):
            desk.renew()
            for call in before:
                desk.call(call)
            calls = desk.args(outer), desk.args(inner)
            if not _interrupted(answer, elsewhere, desk, calls, number):
                break
            desk.expect(outer)
            desk.expect(inner)
            has, should = desk.cents(), desk.should
            if has != should:
                return broken(
                    f"a {KINDS[inner]} came in another process before statement {number} of a"
                    f" {KINDS[outer]} of its saga: the voucher has {has} cents, not {should}",
                    f"{TOGETHER} IMMEDIATE.",
                    cents=has,
                )
    return None


def two_at_once(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let another saga redeem from the same voucher before each statement of a redeem."""
    elsewhere = copied(answer.function)
    desk = Desk(answer, room)
    should = START - 2 * PRICE
    for number in range(1, MOST_STATEMENTS):
        desk.renew()
        kind, saga_id, code, cents = desk.args("r")
        calls = (kind, saga_id, code, cents), (kind, f"{saga_id}-2", code, cents)
        if not _interrupted(answer, elsewhere, desk, calls, number):
            break
        if (has := desk.cents()) != should:
            return broken(
                f"another saga redeemed in another process before statement {number} of a redeem,"
                f" and the voucher has {has} cents, not {should}",
                "What was read may be old by then. `SET cents = cents - ?` reads and writes in one"
                " statement.",
                cents=has,
            )
    return None


def _interrupted(
    answer: Submission,
    function: Callable[..., Any],
    desk: Desk,
    calls: tuple[tuple[Any, ...], tuple[Any, ...]],
    number: int,
) -> bool:
    """Make two calls, the second before that statement of the first; return whether there was one.

    What meets a lock is called again, as a saga would.
    """
    outer, inner = calls
    own, other = desk.connect(), desk.connect(timeout=0)
    count = itertools.count(1)
    started: list[Attempt] = []

    def statement(_: str) -> None:
        if next(count) == number:
            started.append(answer.begin(function, (other, *inner), TERMS))
            wait(lambda: not started[0].running, BLOCKED_SECONDS)

    own.set_trace_callback(statement)
    ends = [(outer, answer.attempt(own, *outer, allow=sqlite3.Error))]
    own.set_trace_callback(None)
    ends += [(inner, attempt.outcome()) for attempt in started]
    for call, end in ends:
        if end.error is not None:
            for connection in (own, other):
                connection.rollback()
            answer(desk.connect(), *call)
    return bool(started)
