"""Exercise of notebook 22: hand the caller's deadline on. The other one is in `tries`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.hop import Hop
from labsvc.checks.scenarios.scripted_users import EXCEEDED, FINAL, OK, UNAVAILABLE, UNKNOWN, Users
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.shop.v1 import user_pb2

if TYPE_CHECKING:
    import grpc

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

STATUSES = (UNAVAILABLE, *FINAL)  # each is handed on as it came

LONG, SHORT = 1.6, 0.5  # seconds that callers allow; no fixed number fits both
KEEP = 0.2  # seconds to keep, as the exercise says
CAP = 2.0  # seconds that a call may take at most, as the exercise says
TOO_LITTLE = 0.15  # seconds that are left when the last call reaches the function
CLOCK = 0.05  # seconds between two looks at the clock
LOST = 0.3  # seconds that a busy machine never takes


@exercise(
    "22-pass-on",
    title="Pass the caller's deadline on",
    kind="function",
    returns=user_pb2.GetUserResponse,
)
def pass_on(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_user(context, stub, request)` asks with what is left less 0.2 s, at most 2 s."""
    cases = Cases(answer, sandbox)
    patient = (
        _with_deadline(LONG),
        _without_deadline(None, "a caller set no deadline"),
        _without_deadline(3 * CAP, f"a caller allowed {3 * CAP:g} seconds"),
    )
    refused = (*map(_with_status, STATUSES), _with_too_little)
    return (
        next(filter(None, map(cases.broken, patient)), None)
        or cases.broken(_with_deadline(SHORT), only=("lost", "refused", "late"))
        or next(filter(None, map(cases.broken, refused)), None)
        or solved(
            "each call got what its caller had left, the one that came too late was refused, and"
            " each caller got the status that was true",
            cases=cases.count,
        )
    )


def _with_deadline(timeout: float) -> Case:
    """Return the case of a caller with a deadline, under the faults of a run."""

    def passed_on(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        users = Users()
        hop = Hop(answer, room, run, users, timeout)
        return _given(hop) or _handed_on(hop, users, [strike.fault for strike in run.plan])

    return passed_on


def _given(hop: Hop) -> Verdict | None:
    """Return what is wrong with the time that the next service was given."""
    spare = KEEP if hop.spare is None else hop.spare
    return first_broken(
        _invented(hop),
        (
            not hop.timeouts,
            "the caller had time, and the next service was not asked",
            "Compare what is left with the time that you keep, not with the cap.",
        ),
        (
            None in hop.timeouts,
            "the next service was asked without a deadline",
            "A stub's method takes a timeout. What does the handler's context say is left?",
        ),
        (
            spare < -LOST,
            "the next service was given more time than the caller had left",
            "A fixed timeout starts anew. Ask the context what is left.",
        ),
        (
            spare < KEEP - CLOCK,
            "not enough was kept for the work after the answer",
            "Take 0.2 seconds off before you pass the rest on.",
        ),
        (
            spare > KEEP + LOST,
            "the next service was given far less time than there was",
            "It may have all that the caller has left, less 0.2 seconds.",
        ),
    )


def _invented(hop: Hop) -> tuple[bool, str, str]:
    return (
        not hop.timeouts and hop.code == OK.name,
        "the caller got an answer, and the next service was not asked",
        "Ask at each call: return what the stub's method returns now.",
    )


def _handed_on(hop: Hop, users: Users, faults: list[str]) -> Verdict | None:
    """Return what is wrong with what the caller got from the next service, under these faults."""
    asked = len(hop.timeouts)
    true = (EXCEEDED if "late" in faults else UNAVAILABLE) if faults else OK
    return first_broken(
        (
            asked > 1,
            f"one call came in, and the next service was asked {asked} times",
            AGAIN if faults else "Ask once, and return that answer.",
        ),
        (
            true is OK and hop.code != true.name,
            f"the next service answered, and the caller got {hop.code}",
            "Return what the stub's method returned.",
        ),
        (
            true is OK and hop.got != users.answer,
            "the caller got another answer than the next service gives to its request",
            "Hand on the `request` that came in, and return what the stub's method returned.",
        ),
        (
            hop.code == OK.name != true.name,
            "no answer came, and the caller got one",
            "A made-up answer hides the error. End the handler with the status of the call.",
        ),
        (
            hop.code != true.name,
            f"the true status is {true.name}, and the caller got {hop.code}",
            _hint(hop),
        ),
        (
            hop.left <= 0,
            "the caller had given up when your function came back",
            "What you keep of its time is for the way back: do not wait once the call has ended.",
        ),
        asked=asked,
    )


def _without_deadline(timeout: float | None, who: str) -> Case:
    """Return the case of a caller who has more than the cap."""

    def capped(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        users = Users()
        hop = Hop(answer, room, run, users, timeout)
        return first_broken(
            _invented(hop),
            (
                not users.calls,
                f"{who} and got {hop.code}, and the next service was not asked",
                "Without a deadline, time_remaining() is a number above 10**18. Cap it.",
            ),
            (
                any(each is None or each > CAP + CLOCK for each in hop.timeouts),
                f"{who}, and the next service was given more than 2 seconds",
                "The smaller of two numbers: what is left, and the cap.",
            ),
            (
                any(each is not None and each < CAP - KEEP - CLOCK for each in hop.timeouts),
                f"{who}, and the next service was given far less than 2 seconds",
                "Cap what is left at 2 seconds; take off only what you keep.",
            ),
            (
                hop.got != users.answer,
                f"{who}, the next service answered, and the caller got another end: {hop.code}",
                "Return what the stub's method returned, however long the caller waits.",
            ),
        )

    return capped


def _with_status(code: grpc.StatusCode) -> Case:
    """Return the case of a next service that ends the call with a status."""

    def handed_on(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        hop = Hop(answer, room, run, Users([code]), LONG)
        return first_broken(
            (
                len(hop.timeouts) > 1,
                f"the next service said {code.name}, and was asked again",
                AGAIN,
            ),
            (
                hop.code != code.name,
                f"the next service said {code.name}, and the caller got {hop.code}",
                _hint(hop),
            ),
            asked=len(hop.timeouts),
        )

    return handed_on


def _with_too_little(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Begin where less is left than is to be kept."""
    hop = Hop(answer, room, run, Users(), 2 * TOO_LITTLE, begin_with=TOO_LITTLE)
    return first_broken(
        (
            bool(hop.timeouts),
            "less was left than is to be kept, and the next service was asked all the same",
            "When nothing is left to pass on, end the handler.",
        ),
        (
            hop.code != EXCEEDED.name,
            f"too little time was left, and the caller got {hop.code}",
            "context.abort(code, text) ends a handler with a status.",
        ),
        asked=len(hop.timeouts),
    )


def _hint(hop: Hop) -> str:
    """Return where to look when the caller got another status than the true one."""
    if hop.code == UNKNOWN.name:
        return "An RpcError that leaves a handler is UNKNOWN there. `context.abort` takes its code."
    return (
        "Say what the call's own `code()` says, and nothing else: `context.abort` takes its code."
    )


AGAIN = "Ask once. Whether another try is worth it, your caller decides."
