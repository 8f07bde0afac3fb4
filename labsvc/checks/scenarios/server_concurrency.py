"""Exercise of notebook 28: a limit for each user. The other one is in `blocking_library`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labsvc.checks.asking import channel, wait
from labsvc.checks.engine import exercise
from labsvc.checks.racing import ending_together, racing
from labsvc.checks.scenarios.library import PLACES, SOON, Library, count, new_user, start
from labsvc.checks.scenarios.user_places import Users, one_leaves, places_come_back, rush
from labsvc.checks.verdict import Verdict, first_broken, solved, wrong_type

if TYPE_CHECKING:
    from collections import Counter

    import grpc

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

CALLS = 10
AT_ONCE = 0.09  # seconds in which the quickest refusal has to come


@exercise(
    "28-limit",
    title="Refuse what is over a user's limit",
    kind="function",
    returns=Callable,
    deadline=15,  # the handlers' own waits count, and the steps of the rush
)
def limit(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`limited(handler, calls)` lets so many of a user run and refuses the rest at once."""
    first, second, third = Library(), Library(), Library()
    made = [answer(library.handle, PLACES) for library in (first, second)]
    made.append(racing(answer(ending_together(third.handle, PLACES), PLACES), CALLS))
    users, *others = (
        Users(answer.handler(each, kind="function", allow=lambda _: True)) for each in made
    )
    service = sandbox.serve_grpc(users, name="limited", workers=CALLS + 4)
    twin = sandbox.serve_grpc(others[0], name="limited-too", workers=2)
    rushed = sandbox.serve_grpc(others[1], name="limited-rush", workers=CALLS + 4)
    with channel(service.target) as line, channel(twin.target) as twin_line:
        fault, counts = _all_at_once(line, twin_line, users, first, second)
        fault = (
            fault or places_come_back(line, first, counts) or one_leaves(line, first, users, counts)
        )
    if fault is None:
        with channel(rushed.target) as line:
            fault = rush(line, third, CALLS, counts)
    return fault or solved(
        "what was too much was refused at once, and every place came back", **counts
    )


def _all_at_once(
    line: grpc.Channel, twin_line: grpc.Channel, users: Users, library: Library, twin: Library
) -> tuple[Verdict | None, dict[str, int]]:
    """Let one user call more often than it may, another user once, and another handler be asked."""
    busy, quiet = new_user(), new_user()
    calls = [start(line, busy) for _ in range(CALLS)]
    wait(lambda: sum(call.done() for call in calls) >= CALLS - PLACES, SOON)
    early = sum(call.done() for call in calls)
    neighbour, elsewhere = start(line, quiet), start(twin_line, busy)
    wait(lambda: library.inside[quiet] and twin.inside[busy], SOON)
    library.gate.set()
    twin.gate.set()
    codes = count(calls)
    counts = {"calls": CALLS, "served": codes["OK"], "refused": codes["RESOURCE_EXHAUSTED"]}
    fault = (
        _answers(library, codes, users, counts)
        or _refusals(library.most[busy], early, codes, users.failed_after, counts)
        or _others(neighbour.code().name, elsewhere.code().name, counts)
    )
    return fault, counts


def _answers(
    library: Library, codes: Counter[str], users: Users, counts: dict[str, int]
) -> Verdict | None:
    if users.odd and set(codes) - {"OK", "RESOURCE_EXHAUSTED"}:
        return wrong_type(users.odd[0], "what the handler returns", **counts)
    return first_broken(
        (
            bool(codes["OK"]) and not library.asked,
            "calls were answered, and the handler was never called",
            "A call that has a place goes to `handler`, and gets what that returns.",
        ),
        **counts,
    )


def _refusals(
    most: int, early: int, codes: Counter[str], took: list[float], counts: dict[str, int]
) -> Verdict | None:
    rest = sorted(set(codes) - {"OK", "RESOURCE_EXHAUSTED"})
    return first_broken(
        (
            most > PLACES,
            f"{most} calls of one user ran at once, {PLACES} were allowed",
            "Keep one count for all calls together. Which calls take a place or give one back?",
        ),
        (
            bool(rest),
            f"calls that were too much ended with {', '.join(rest)}",
            "`context.abort` takes a status code; RESOURCE_EXHAUSTED says that nothing was done.",
        ),
        (
            not early and 0 < most < PLACES,
            f"calls waited while only {most} of {PLACES} places was taken",
            "What do you hold while the handler runs? Others of this user may need it to enter.",
        ),
        (
            not early and codes["OK"] > PLACES,
            "calls over the limit waited, and were not refused",
            "A semaphore's acquire waits by default. Which argument makes it return at once?",
        ),
        (
            codes["OK"] > PLACES,
            "calls over the limit got an OK",
            "End them with `context.abort`: the caller has to learn that nothing was done.",
        ),
        (
            codes["OK"] < PLACES,
            f"{codes['OK']} of {PLACES} calls that had a place were served",
            "Refuse only when all places of this user are taken.",
        ),
        (
            min(took, default=0.0) > AT_ONCE,
            "calls over the limit waited a while before they were refused",
            "Do not wait for a place: look, and refuse.",
        ),
        **counts,
    )


def _others(neighbour: str, elsewhere: str, counts: dict[str, int]) -> Verdict | None:
    return first_broken(
        (
            neighbour != "OK",
            f"a call of another user ended with {neighbour} while the first had no place",
            "Whose calls does your count count? The request says who asks.",
        ),
        (
            elsewhere != "OK",
            f"a call of another handler ended with {elsewhere}: the two share their count",
            "Make the count inside `limited`, so that each handler gets its own.",
        ),
        **counts,
    )
