"""Exercise of notebook 21: a call that outlasts a short outage, and no longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from labsvc.checks.asking import has_status
from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.giving_up import NOBODY_ANSWERS, answers_or_tells
from labsvc.checks.scenarios.one_user import BOUND, WITHIN, OneUser, read_by_caller, wait_until_lost
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.cases import Case
    from labsvc.checks.run import Outcome
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

OUTAGES = (0.1, 1.5)  # seconds: nobody who sleeps through the long one is soon after the short one
SOON = 0.6  # seconds from the server's return to the answer; the exercise says half a second
NOW = 0.3  # seconds for a call to a server that is up

AT_ONCE = 16  # of the cases of a function that tries again: each late answer takes all its time

NO_NEED = "Wait only while there is no connection, not before the call and not for a fixed time."


@exercise("21-outage", title="Answer through a short outage, and give up in time",
          returns=str, deadline=30)  # fmt: skip
def outage(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_user(stub, user_id)` returns the name through a restart, or raises within 2 seconds."""
    cases = Cases(answer, sandbox)
    return (
        cases.broken(_user_is_known)
        or cases.broken(_user_is_unknown)
        or cases.broken(
            answers_or_tells,
            only=("lost", "refused", "late"),
            beside=[*map(_restart, OUTAGES), *NOBODY_ANSWERS],
            at_once=AT_ONCE,
        )
        or solved(
            "the name came soon after each restart, and when no answer came, the caller was told"
            " in time",
            restarts=len(OUTAGES),
            cases=cases.count,
        )
    )


def _user_is_known(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask a server that is up: that is worth no wait."""
    del run
    users = OneUser(room)
    with users.connected() as (_, stub):
        start = time.monotonic()
        outcome = answer.attempt(stub, users.user_id, within=WITHIN, allow=has_status("NOT_FOUND"))
        took = time.monotonic() - start
    return first_broken(
        (
            outcome.hung,
            "the server was up, and your function did not come back within two seconds",
            BOUND,
        ),
        (
            outcome.error is not None,
            "the server knows the user, and your function asked for another: NOT_FOUND",
            "Ask for the `user_id` that you were given, with the stub that you were given.",
        ),
        (
            outcome.value != users.name,
            "the server was up, and the user's name did not come back",
            "Return `reply.user.name`, for the `user_id` that you were given.",
        ),
        (took > NOW, "the server was up, and your function waited all the same", NO_NEED),
        calls=users.calls,
    )


def _user_is_unknown(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask it for a user who is not there: that is final."""
    del run
    users = OneUser(room)
    with users.connected() as (_, stub):
        start = time.monotonic()
        outcome = answer.attempt(stub, "u-404", within=WITHIN)
        took = time.monotonic() - start
    return first_broken(
        (
            outcome.hung or users.calls > 1,
            "there is no user u-404, and your function asked for it again and again",
            "NOT_FOUND stays NOT_FOUND. Which codes does an outage have?",
        ),
        (
            outcome.error is None,
            "there is no user u-404, and your function returned as if there was",
            "Let the grpc.RpcError reach the caller.",
        ),
        (
            outcome.status != "NOT_FOUND",
            f"the server said NOT_FOUND, and the caller read {read_by_caller(outcome)}",
            "Let the grpc.RpcError out, or keep it as the cause: `raise ... from error`.",
        ),
        (
            took > NOW,
            "the server said NOT_FOUND at once, and your function waited before it said so",
            "Only an outage is worth a wait.",
        ),
        calls=users.calls,
    )


def _restart(seconds: float) -> Case:
    """Return the case of a server that is away for so long."""

    def restarted(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        del run
        users = OneUser(room)
        with users.connected() as (line, stub):
            users.service.stop()
            wait_until_lost(line)
            attempt = answer.start(stub, users.user_id, within=WITHIN)
            time.sleep(seconds)
            early = not attempt.running
            users.service.start()
            back = time.monotonic()
            outcome = attempt.outcome()
            late = time.monotonic() - back > SOON
        return _after_restart(outcome, users.name, early=early, late=late)

    return restarted


def _after_restart(outcome: Outcome, name: str, *, early: bool, late: bool) -> Verdict | None:
    return first_broken(
        (outcome.hung, "the server came back, and your function did not", BOUND),
        (
            outcome.status == "UNAVAILABLE",
            "the call failed with UNAVAILABLE, though the server was back in less than two seconds",
            "A call fails at once without a connection. Which keyword makes it wait for one?",
        ),
        (
            outcome.status == "DEADLINE_EXCEEDED",
            "your function gave up before the server was back, with time to spare",
            "A timeout is in seconds. How many has the caller?",
        ),
        (
            outcome.error is not None,
            f"the server had only restarted, and the call ended with {read_by_caller(outcome)}",
            "Wait for the connection, and return `reply.user.name`.",
        ),
        (
            outcome.value != name,
            "the user's name did not come back from a server that had only restarted"
            if not early
            else "your function returned while the server was away",
            "Return `reply.user.name`, and do not hide an error behind another value.",
        ),
        (late, "the server was back, and your function went on waiting", NO_NEED),
    )
