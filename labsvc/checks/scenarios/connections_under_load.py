"""Exercise of notebook 29: a server that is drained."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from labsvc.checks.asking import wait
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.drained_server import (
    AT_WORK,
    NOT_SERVING,
    NOTICE,
    SERVING,
    SOON,
    Server,
    drained_server,
)
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Submission

SHORT_NOTICE = 0.1
GRACE = 0.8
LONG_GRACE = 30.0
LEAD = 0.4  # seconds before the end of the notice in which nothing is sent: calls take a moment


@exercise("29-drain", title="Stop a server without failing a call", deadline=20)
def drain(answer: Submission, sandbox: Sandbox) -> Verdict:  # noqa: ARG001
    """`shut_down(...)` says so first, serves the notice, gives the grace and waits for the end."""
    for judge in (_patient, _stubborn):
        with drained_server() as server:
            if fault := judge(answer, server):
                return fault
    return solved(
        "no call failed that had its time, and the end came when the last call had ended",
        calls_within_the_grace=AT_WORK,
        calls_beyond_it=1,
    )


def _patient(answer: Submission, server: Server) -> Verdict | None:
    """Let calls at work need less than the grace, and others come during the notice."""
    at_work = server.work(AT_WORK)
    attempt = server.shut_down(answer, LONG_GRACE)
    if fault := _waits_for_the_event(server, attempt):
        return fault
    told = time.monotonic()
    server.stopping.set()
    arriving: list[Any] = []
    serving: list[str] | None = None
    while (age := time.monotonic() - told) < NOTICE - LEAD:
        arriving += server.start("quick")
        time.sleep(0.02)
        if age > NOTICE / 4 and serving is None:
            serving = server.without(NOT_SERVING)
    if fault := _notice_kept(arriving, serving or []):
        return fault
    time.sleep(max(0.0, told + NOTICE + LEAD - time.monotonic()))
    if fault := _stopped_and_waits(server, attempt, at_work):
        return fault
    server.users.gate.set()
    codes = Counter(call.code().name for call in at_work)
    late = not wait(lambda: not attempt.running, SOON)
    if not late:
        attempt.outcome()
    return first_broken(
        (
            codes["OK"] < AT_WORK,
            f"{AT_WORK - codes['OK']} of {AT_WORK} calls at work failed within their grace",
            "Who gives the calls at work their time? The argument of `stop` is in seconds.",
        ),
        (
            late,
            "the last call had ended, and your function did not return",
            "The grace is the most it takes, not the least. What does `stop` return?",
        ),
    )


def _waits_for_the_event(server: Server, attempt: Attempt) -> Verdict | None:
    wait(lambda: not attempt.running, 0.3)
    if not attempt.running:
        attempt.outcome()
    return first_broken(
        (
            not attempt.running,
            "your function returned before anybody set the event",
            "The event has a method that waits until it is set.",
        ),
        (
            not server.serves() or bool(server.without(SERVING)),
            "the server was going down before anybody set the event",
            "The first line waits; all others come after it. A timeout ends a wait, too.",
        ),
    )


def _notice_kept(arriving: list[Any], serving: list[str]) -> Verdict | None:
    codes = Counter(call.code().name for call in arriving)
    late = codes.total() - codes["OK"]
    failed = sorted(set(codes) - {"OK"})
    return first_broken(
        (
            bool(failed),
            f"{late} calls that came during the notice ended with {', '.join(failed)}",
            "Callers call until they have heard. When does the server stop taking calls?",
        ),
        (
            bool(serving),
            f"during the notice, health did not say NOT_SERVING for {', '.join(serving)}",
            "Say it from the start of the notice, for each service that callers may ask for.",
        ),
    )


def _stopped_and_waits(server: Server, attempt: Attempt, at_work: list[Any]) -> Verdict | None:
    serves = server.serves()
    ended = sum(call.done() for call in at_work)
    if not attempt.running:
        attempt.outcome()
    return first_broken(
        (
            serves,
            "the notice was over, and the server still took new calls",
            "Which call makes a server take no more? It belongs right after the notice.",
        ),
        (
            server.takes_back(),
            "after the notice, health no longer said NOT_SERVING",
            "Callers who watch would come back. What is set once stays so to the end.",
        ),
        (
            bool(ended),
            f"{ended} calls at work were ended after the notice, in spite of their grace",
            "What does `stop` do with the calls at work when it is given 0, None or no number?",
        ),
        (
            not attempt.running,
            f"your function returned while {AT_WORK} calls were at work: the program would end",
            "`stop` returns at once. What does it return?",
        ),
    )


def _stubborn(answer: Submission, server: Server) -> Verdict | None:
    """Let a call outlast the grace; call the answer twice at the same time, and again."""
    [call] = server.work(1)
    attempts = [server.shut_down(answer, GRACE) for _ in range(2)]
    told = time.monotonic()
    server.stopping.set()
    time.sleep(NOTICE + GRACE / 4)
    cut, left = call.done(), not all(attempt.running for attempt in attempts)
    wait(lambda: call.done() or not all(a.running for a in attempts), GRACE + SOON)
    returned = not all(attempt.running for attempt in attempts)
    ended = wait(call.done, GRACE / 4)  # its caller hears it a bit later
    early, lasts = left or (returned and not ended), not (returned or ended)
    late = ended and not wait(lambda: not any(a.running for a in attempts), SOON)
    cut = cut or server.stops.end_before(told + NOTICE + GRACE)
    long = server.stops.longer_than(GRACE)
    for attempt in attempts:
        if not attempt.running:
            attempt.outcome()
    if not (cut or long or lasts or early or late):
        late = not _returns_again(server, answer)
    return first_broken(
        (
            cut,
            "a call at work was ended before its grace was over",
            "The grace begins after the notice. Does a second shut-down take it from the first?",
        ),
        (
            lasts,
            "a call that takes longer than the grace was not ended",
            "`stop` takes the grace in seconds; without a number the call decides how long it is.",
        ),
        (
            bool(long),
            f"a call at work was given {long:.1f} s, and the grace is {GRACE} s",
            "The grace begins when the notice is over, and whoever waits for it adds nothing.",
        ),
        (
            early,
            "two shut-downs ran, and one returned before the last call had ended",
            "Each returns when the server is down. What can both wait for, as long as it takes?",
        ),
        (
            late,
            "your function was called twice, and one of the calls did not return",
            "Both wait for the same end. Does the second wait for something that comes only once?",
        ),
    )


def _returns_again(server: Server, answer: Submission) -> bool:
    """Call the answer when all is over; return whether it comes back."""
    again = server.shut_down(answer, GRACE, SHORT_NOTICE)
    if back := wait(lambda: not again.running, SHORT_NOTICE + GRACE + SOON):
        again.outcome()
    return back
