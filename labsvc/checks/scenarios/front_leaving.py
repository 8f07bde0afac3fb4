"""Part of the check of T2: customers who leave, at each moment of a visit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.front_visits import SOON, Desk, Moment
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.front_visits import Visit
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

PATIENT = 30.0  # seconds that these customers allow
LATEST = 4.0  # seconds in which a second try has begun
SILENT = (None,)
SILENT_AFTER_ONE = (grpc.StatusCode.UNAVAILABLE, None)


def leaves(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Leave while a try is under way, between two, and at the moments that are easily missed."""
    desk = Desk(answer, room, run)
    return taught_in(
        "23",
        _under_way(desk, SILENT, 1)
        or _under_way(desk, SILENT_AFTER_ONE, 2)
        or _at(desk, Moment(end=1), "in the pause")
        or _at(desk, Moment(call=1), "just before the first try")
        or _at(desk, Moment(call=2), "just before the second try")
        or _before_ties(desk),
    )


def _under_way(
    desk: Desk, script: tuple[grpc.StatusCode | None, ...], number: int
) -> Verdict | None:
    desk.orders.script = script
    visit = desk.start(PATIENT)
    wait(lambda: visit.tries is not None and len(visit.tries.starts) == number, LATEST)
    wait(lambda: desk.orders.received.count(visit.request) == number, SOON)  # it is tied by then
    visit.call.cancel()
    return _went_on(desk, visit, f"while try {number} was under way")


def _at(desk: Desk, moment: Moment, words: str) -> Verdict | None:
    desk.orders.script = SILENT if moment.call == 1 else SILENT_AFTER_ONE
    visit = desk.start(PATIENT, moment=moment)
    wait(visit.call.done, LATEST)
    return _went_on(desk, visit, words)


def _before_ties(desk: Desk) -> Verdict | None:
    """Leave just before each callback is added, of a visit with two tries."""
    desk.orders.script = SILENT_AFTER_ONE
    whole = desk.start(PATIENT)
    wait(lambda: whole.tries is not None and len(whole.tries.starts) > 1, LATEST)
    whole.call.cancel()
    desk.stopped(whole)
    for number in range(1, whole.seen.ties + 1):
        if verdict := _at(desk, Moment(tie=number), "just before `add_callback`"):
            return verdict
    return None


def _went_on(desk: Desk, visit: Visit, words: str) -> Verdict | None:
    """Return what goes on when the customer has left."""
    stopped = desk.stopped(visit)
    codes, vain = visit.seen.codes, visit.seen.vain
    missed = "`add_callback` returns False when the customer has left already. Who cancels then?"
    tied = "`context.add_callback(call.cancel)` ties a call to the customer."
    return first_broken(
        (
            vain > 0,
            f"the customer left {words}, and another try began",
            "After each pause, ask `context.is_active()`.",
        ),
        (
            any(code not in ("CANCELLED", "UNAVAILABLE") for code in codes),
            f"the customer left {words}, and the try went on",
            tied if words.startswith("while") else missed,
        ),
        (
            not stopped,
            f"the customer left {words}, and your function went on",
            "When its call was cancelled, or the customer has left, there is nothing to wait for.",
        ),
        tries=len(codes),
    )
