"""Exercise of notebook 22: tries within a budget. The other one is in `deadlines`."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from labsvc.checks.cases import NO_END, Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.scripted_users import EXCEEDED, FINAL, UNAVAILABLE, Users
from labsvc.checks.scenarios.tries_made import PAUSE, Tries
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.shop.v1 import user_pb2

if TYPE_CHECKING:
    import grpc

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SILENCE = (UNAVAILABLE, *([None] * 20))
DOWN = (UNAVAILABLE,) * 100
TRIES = 5  # as the exercise says
PLENTY = 2.0  # seconds: two faults and the answer take .9 of them
ENOUGH = 0.8  # seconds: five tries that are refused take .4 of them
BUDGET = 0.6  # seconds: tries at 0 (refused), at 0.1, and at 0.5 with 0.1 left
FIT = 3
LATE = 0.05  # seconds by which a busy machine may delay the start of a try
VERY_LATE = 0.25  # and the end of all
ONE_FITS = 0.09  # seconds: after a try that fails at once, less is left than the wait takes
TWO_FIT = 0.35  # seconds: after the wait, less is left than a try's usual time
AT_ONCE = 0.05  # seconds in which a function that does not wait has returned
SOON = 0.02  # seconds in which a try fails, on a machine that has time; one who waits is seen then
LOOKS = 5
BESIDE = 16  # runs beside each other: all second faults


@exercise(
    "22-budget",
    title="Retry within the caller's budget",
    deadline=15,
    returns=user_pb2.GetUserResponse,
)
def budget(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_patiently(stub, request, budget)` tries up to 5 times, 0.3 s each, in the budget."""
    cases = Cases(answer, sandbox)
    short = (*map(_is_final, FINAL), _down, _one_fits, _two_fit)
    return (
        next(filter(None, map(cases.broken, short)), None)
        or cases.broken(_comes, only=("lost", "refused", "late"), at_once=BESIDE)
        or cases.broken(_silence)
        or solved(
            "the tries stayed within the budget, and what cannot be mended was not tried again",
            cases=cases.count,
        )
    )


def _is_final(code: grpc.StatusCode) -> Case:
    """Return the case of an answer with a code that is final: one try, the caller sees it."""

    def final(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        tries = Tries(answer, room, run, Users([code]), PLENTY)
        hint = "Raise at once what another try cannot mend."
        said = f"the service said {code.name}"
        return first_broken(
            *tries.limited,
            (tries.count > 1, f"{said}, and was asked again", hint),
            tries.hides(code.name, said, hint),
            (tries.idle > PAUSE * 0.8, f"{said}, and your function waited before it did", hint),
            tries=tries.count,
        )

    return final


def _down(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Answer UNAVAILABLE at once, each time."""
    tries = Tries(answer, room, run, Users(DOWN), ENOUGH)
    return first_broken(
        *tries.manners,
        (
            tries.count > TRIES,
            f"a service that was down was asked more than {TRIES} times",
            "Count the tries.",
        ),
        (
            statistics.median(tries.waits or [PAUSE]) > PAUSE * 1.5,
            "your function waited far longer than 0.1 seconds between two tries",
            "Wait 0.1 seconds between two tries.",
        ),
        (
            tries.count < TRIES,
            f"there was time for {TRIES} tries, and your function made {tries.count}",
            f"{UNAVAILABLE.name} is worth another try until the tries are used up, or the budget.",
        ),
        tries.hides(UNAVAILABLE.name, f"{TRIES} tries ended with {UNAVAILABLE.name}", LAST),
        (
            tries.details != f"try {TRIES}",
            "every try failed, and your function did not raise the last error",
            LAST,
        ),
        tries=tries.count,
    )


def _one_fits(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Fail at once where less is left than a wait takes."""
    for _ in range(LOOKS):
        tries = Tries(answer, room, run, Users(DOWN), ONE_FITS)
        if not tries.count or min(tries.ends, default=ONE_FITS) < SOON:
            break
    else:
        return Verdict("unknown", BUSY, hint="Run the cell again when the machine has less to do.")
    return first_broken(
        (
            not tries.count,
            f"the budget was {ONE_FITS} seconds, and your function made no try",
            SHORTER,
        ),
        (
            any(start > ONE_FITS for start in tries.starts),
            f"the budget was {ONE_FITS} seconds, and a try started after it was used up",
            "The budget is for all tries together. Look at the clock before each.",
        ),
        (
            tries.count > 1,
            f"the budget was {ONE_FITS} seconds, and your function cut the wait short to try again",
            "Wait 0.1 seconds in full, or give up.",
        ),
        (
            tries.idle > AT_ONCE,
            f"the budget was {ONE_FITS} seconds, one try failed, and your function waited on",
            "Before you sleep, ask what will be left after it: if nothing, give up at once.",
        ),
        tries.hides(UNAVAILABLE.name, f"the only try ended with {UNAVAILABLE.name}", LAST),
        tries=tries.count,
    )


def _two_fit(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Answer a second, short try."""
    tries = Tries(answer, room, run, Users([UNAVAILABLE]), TWO_FIT)
    return first_broken(
        (
            tries.outcome.error is not None,
            f"a second try would have fitted into {TWO_FIT} seconds, and no answer came back",
            SHORTER,
        ),
        tries=tries.count,
    )


def _comes(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask once under the faults of this run: after one try for each, the answer comes."""
    users = Users()
    tries = Tries(answer, room, run, users, PLENTY)
    last = (tries.codes or [""])[-1]
    return first_broken(
        *tries.manners,
        (tries.outcome.hung, "your function did not come back", NO_END),
        (
            tries.too_many > 0,
            "the service was asked again after it had answered",
            "The first answer ends the tries.",
        ),
        (
            tries.answered and tries.outcome.error is not None,
            f"a try brought the answer, and your function {tries.told}",
            "The first answer ends the tries. Errors before it count no more.",
        ),
        (
            tries.outcome.error is not None and tries.count <= len(run.plan),
            f"no answer came back: with time to spare, your function {tries.told}",
            f"{last} is worth another try while the budget lasts.",
        ),
        (
            tries.outcome.error is not None,
            f"no try of {tries.count} brought an answer, and your function {tries.told}",
            "How many seconds did the last try have? With time to spare, it may have 0.3.",
        ),
        (
            tries.outcome.value != users.answer,
            "your function returned another answer than the service gives to the request",
            "Hand on the `request` as it is, and return what the stub's method returned.",
        ),
        (
            tries.took > PLENTY + VERY_LATE,
            "the answer came after the budget was used up",
            "The wait counts too. Before you sleep, ask what will be left after it.",
        ),
        tries=tries.count,
    )


def _silence(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Leave all tries but the first unanswered."""
    tries = Tries(answer, room, run, Users(SILENCE), BUDGET)
    ends = [start + limit for start, limit in zip(tries.starts, tries.limits, strict=False)]
    return first_broken(
        *tries.manners,
        (
            tries.outcome.hung or any(start > BUDGET for start in tries.starts),
            "a try started after the budget was used up",
            "The budget is for all tries together. Look at the clock before each.",
        ),
        (
            any(end > BUDGET + LATE for end in ends),
            "the last try was given more time than the budget had left",
            "A try may take 0.3 seconds, or what is left, whichever is less.",
        ),
        (
            tries.took > BUDGET + VERY_LATE,
            "your function came back after the budget was used up",
            "The wait counts too. Before you sleep, ask what will be left after it.",
        ),
        (
            tries.count < FIT - 1,
            "the service was silent, and your function gave up with time to spare",
            f"{EXCEEDED.name} is worth another try while the budget lasts.",
        ),
        tries.hides(EXCEEDED.name, f"the last try ended with {EXCEEDED.name}", "Raise the last."),
        tries=tries.count,
    )


BUSY = "the machine is too busy: calls that fail at once took most of a short budget"
LAST = "A bare `raise` in the `except` block raises the error that was caught there."
SHORTER = "A try may have less than 0.3 seconds. It gets what the clock says is left."
