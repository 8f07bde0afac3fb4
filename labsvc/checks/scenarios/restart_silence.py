"""Part of the check of T5: a broker that falls silent, with its connections open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.restart_rules import call, what_is_wrong
from labsvc.checks.scenarios.restart_stage import Stage, orders
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SILENT_SECONDS = 20.0  # four waits of five seconds; what does not end by itself is as good as none


def silent_from_the_start(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Take its connection, and never say a word."""
    stage = Stage(answer, room, run)
    stage.desk.proxy.set(blackhole=True)
    return _ends(stage)


def silent_from_a_statement(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Fall silent when it first asks its database, before an event is confirmed."""
    stage = Stage(answer, room, run)
    stage.db.set_trace_callback(lambda _: stage.desk.proxy.set(blackhole=True))
    return _ends(stage)


def _ends(stage: Stage) -> Verdict | None:
    """Hold that a call ends by itself with an error, and that the next one does all."""
    stage.send(*orders(1))
    args = stage.desk.url, *stage.args[1:]
    attempt = stage.answer.start(stage.db, *args, within=SILENT_SECONDS)
    end = attempt.outcome()
    attempt.stop()
    stage.db.set_trace_callback(None)
    stage.db.rollback()
    stage.failed += 1
    found = first_broken(
        (
            end.hung,
            "the broker fell silent, and your function waited without an end",
            "A timeout for each wait: connect, publish, and what opens a channel or a queue.",
        ),
        (
            end.error is None and bool(stage.rows("SELECT seq FROM outbox WHERE NOT sent")),
            "the broker fell silent, your function returned, and events wait in the outbox",
            "Let the TimeoutError out: who calls has to know.",
        ),
    )
    return taught_in("50", found) or call(stage) or what_is_wrong(stage)
