"""Part of the check of T5: a database that fails, that is held up, and that others write to."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.restart_events import read
from labsvc.checks.scenarios.restart_rules import CALL_SECONDS, call, what_is_wrong
from labsvc.checks.scenarios.restart_stage import SKU, START, Sent, Stage, orders
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

WAITING = 16  # messages
BOUND = 5  # as the exercise says
LOOK_SECONDS = 0.8  # in which a worker without a bound takes all it can get
MOST_STATEMENTS = 12  # for one message
SELL = "UPDATE stock SET units = units - 1 WHERE units > 0 AND sku = ?"
CHANGES = (
    "INSERT ON handled",
    "INSERT ON orders",
    "INSERT ON outbox",
    "UPDATE ON stock",
    "UPDATE ON outbox",
)


def database_fails(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let the database fail in a call: the error leaves, nothing is kept, the message comes again.

    No error of a constraint: that could be a note that is there already.
    """
    stage = Stage(answer, room, run)
    struck: list[str] = []

    def fail() -> None:
        struck.append(change)
        raise OSError

    stage.db.create_function("fail", 0, fail)
    for change in CHANGES:
        stage.tale = f"the database failed at an {change}, and your function was called again"
        stage.send(*orders(1))
        stage.db.execute(f"CREATE TEMP TRIGGER fails BEFORE {change} BEGIN SELECT fail(); END")
        attempt = answer.start(stage.db, *stage.args, within=CALL_SECONDS, allow=sqlite3.Error)
        end = attempt.outcome()
        attempt.stop()
        left_open = stage.db.in_transaction
        stage.db.rollback()
        stage.db.execute("DROP TRIGGER fails")
        if not struck:
            continue
        stage.failed += 1
        struck.clear()
        found = first_broken(
            (
                end.error is None,
                "the database failed, and its error did not leave your function",
                "Catch what reading a body raises, and let all else out: who calls, calls again.",
            ),
            (
                left_open,
                "the error of the database left your function, and its transaction is still open",
                "`with db:` undoes everything when its block raises.",
            ),
        )
        if found := taught_in("51", found) or call(stage):
            return found
    return what_is_wrong(stage)


def bounded(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Hold up the database while many messages wait, and count those that are taken.

    All of them come once more behind the last one.
    """
    stage = Stage(answer, room, run, f"{WAITING} messages waited", waits=0)
    many = orders(WAITING)
    stage.send(*many)
    with closing(sqlite3.connect(stage.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        attempt = answer.start(stage.db, *stage.args, within=CALL_SECONDS, allow=())
        wait(lambda: stage.desk.ready() < WAITING - BOUND, LOOK_SECONDS)
        taken = WAITING - stage.desk.ready()
        other.rollback()
    if attempt.outcome().hung:
        raise attempt.hang()
    too_many = first_broken(
        (
            taken > BOUND,
            f"{taken} messages were taken before the first one was done",
            "Take one after the other, or set a prefetch of the channel before you consume.",
        ),
        taken=taken,
    )
    if too_many:
        return taught_in("50", too_many)
    stage.send(*many)
    return call(stage) or what_is_wrong(stage)


def beside_others(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let another process sell a unit before each statement, one for each order."""
    stage = Stage(answer, room, run)
    statements, sold, strike_at = itertools.count(1), 0, 0

    def statement(_: str) -> None:
        nonlocal sold
        if next(statements) == strike_at:
            sold += _sells_one(stage.path)

    for strike_at in range(1, MOST_STATEMENTS + 1):  # the callback reads it
        with stage.db:
            stage.db.execute("UPDATE stock SET units = ? WHERE sku = ?", (START, SKU))
        [order] = orders(1, START)
        stage.send(order)
        statements, sold = itertools.count(1), 0
        stage.db.set_trace_callback(statement)
        end = answer.attempt(stage.db, *stage.args, allow=sqlite3.OperationalError)
        stage.db.set_trace_callback(None)
        if end.error is not None:  # what it had read was old: the message comes again
            stage.db.rollback()
            answer(stage.db, *stage.args)
        if found := taught_in("52", _sold_twice(stage, order, sold)):
            return found
        if next(statements) <= strike_at:
            break  # it has no more statements
    return None


def _sells_one(path: Path) -> int:
    """Sell a unit as another process would; return how many were sold."""
    with closing(sqlite3.connect(path, timeout=0)) as other:
        try:
            with other:
                return other.execute(SELL, (SKU,)).rowcount
        except sqlite3.OperationalError:
            return 0  # the answer is at work, and keeps others out


def _sold_twice(stage: Stage, order: Sent, sold: int) -> Verdict | None:
    query = "SELECT body FROM outbox ORDER BY seq DESC LIMIT 1"
    said = stage.rows(query)[0][0]
    is_taken = read(said) == read(stage.event(order.order_id, "taken"))
    outcome = "taken" if is_taken else "refused"
    left = START - sold - (START if is_taken else 0)
    has = stage.units()[SKU]
    hint = "Let the database check and write in one statement, with the condition in its WHERE."
    sellers = f"another process sold {sold} of {START} units meanwhile, an order of {START} was"
    return first_broken(
        (has != left, f"{sellers} {outcome}, and {has} units are in stock, not {left}", hint),
        (left < 0, f"{sellers} taken, and {has} units are in stock", hint),
        units=has,
    )
